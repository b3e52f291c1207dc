"""A SOCKS5 proxy on the loopback interface (RFC 1928, without authentication)."""

from __future__ import annotations

import socket
import socketserver
import threading
from types import TracebackType

__all__ = ["SocksServer"]


class SocksServer:
    """A context manager; `asked_for` are the ports that were connected to through it."""

    def __init__(self) -> None:
        self.asked_for: list[int] = []
        asked_for = self.asked_for

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                client: socket.socket = self.request
                _, methods = client.recv(2)
                client.recv(methods)
                client.sendall(b"\x05\x00")
                *_, kind = client.recv(4)
                if kind == 1:
                    host = socket.inet_ntoa(client.recv(4))
                else:
                    host = client.recv(client.recv(1)[0]).decode()
                port = int.from_bytes(client.recv(2), "big")
                asked_for.append(port)
                with socket.create_connection((host, port)) as server:
                    client.sendall(b"\x05\x00\x00\x01" + bytes(6))
                    back = threading.Thread(target=_pass_on, args=(server, client), daemon=True)
                    back.start()
                    _pass_on(client, server)
                    back.join()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    @property
    def url(self) -> str:
        return f"socks5://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> SocksServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return  # one side hung up
