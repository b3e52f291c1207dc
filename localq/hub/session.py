"""Requests to the Hub, through huggingface_hub's own HTTP client.

Its client knows the user's proxies and certificates. Its request helpers are not used: they wait
without a way to stop, send no Retry-After home, and read the environment only when imported.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, get_session, get_token
from huggingface_hub.errors import OfflineModeIsEnabled

from localq.display import printable
from localq.errors import HubError, OfflineError, UsageError
from localq.hub import environment
from localq.hub.backoff import Backoff
from localq.hub.refusals import Asked, refusal
from localq.hub.source import TransferInterrupted
from localq.hub.waiting import ask
from localq.messages import msg
from localq.version import __version__

__all__ = ["HubSession", "Params", "hang_up"]

_SILENCE = 10.0
"""Seconds after which a silent connection is given up."""
_TIMEOUT = httpx2.Timeout(_SILENCE)
_MAX_ANSWER = 16 << 20
"""Bytes of JSON; parsed, they may take twenty times as much."""

Params: TypeAlias = Mapping[str, str | Sequence[str]]


@dataclass(frozen=True, slots=True)
class HubSession:
    """One Hub and one user. The token goes to `endpoint` only: redirects elsewhere lose it."""

    endpoint: str
    token: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls) -> HubSession:
        """The Hub and the user that the environment names; OfflineError if it wants neither."""
        environment.refuse_offline()
        return cls(environment.endpoint(), _token())

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]

    def patient_json(
        self, path: str, asked: Asked, params: Params, backoff: Backoff
    ) -> tuple[object, Params | None]:
        """As `json`, tried again where that may help."""
        while True:
            try:
                answer = ask(
                    partial(self.json, path, asked, params),
                    self.host,
                    emit=backoff.emit,
                    cancel=backoff.cancel,
                )
            except TransferInterrupted as error:
                backoff.wait(error)
            else:
                backoff.progressed()
                return answer

    def json(self, path: str, asked: Asked, params: Params) -> tuple[object, Params | None]:
        """The API's answer, and the parameters that ask for its next page where there is one."""
        with self.get(path, asked, params=params) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER:
                    raise HubError(
                        msg("{about}the Hub's answer is too long to be right", about=_about(asked))
                    )
            try:
                answer = json.loads(body)
            except (ValueError, RecursionError):
                raise HubError(
                    msg(
                        "{about}{host} does not answer as a Hub does",
                        about=_about(asked),
                        host=self.host,
                    ),
                    hint=msg(
                        "check HF_ENDPOINT, and that no login page of your network is in between"
                    ),
                ) from None
            # Only its parameters: the address may lead elsewhere, the token must not.
            next_page = response.links.get("next", {}).get("url")
            return answer, _parameters(next_page) if next_page else None

    @contextmanager
    def get(
        self,
        path: str,
        asked: Asked,
        *,
        params: Params | None = None,
        offset: int = 0,
        end: int | None = None,
    ) -> Iterator[httpx2.Response]:
        """The answer to a GET, its body still to be read; status 200, 206 or 416.

        Asks for the body from byte `offset` to before `end`; the server may send all of it.

        Raises what `refusal` says for other answers; OfflineError where no connection can be
        made and Interrupted where it breaks, now or while the body is read.
        """
        # Compressed answers could not be continued at an offset.
        headers = {"User-Agent": f"localq/{__version__}", "Accept-Encoding": "identity"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if offset or end is not None:
            headers["Range"] = f"bytes={offset}-{'' if end is None else end - 1}"
        with (
            self._explained(),
            _client().stream(
                "GET",
                self.endpoint + path,
                headers=headers,
                params=params,
                timeout=_TIMEOUT,
                follow_redirects=True,
            ) as response,
        ):
            if response.status_code not in (200, 206, 416):
                elsewhere = response.url.netloc.decode("ascii", "replace")
                led = elsewhere if response.history and elsewhere != self.host else None
                raise refusal(response.status_code, response.headers, asked, led_to=led)
            # Others can turn a few bytes into gigabytes before anyone can count them.
            if response.headers.get("Content-Encoding", "").lower() not in ("", "identity", "gzip"):
                raise HubError(
                    msg(
                        "{about}{host} sends what localq did not ask for",
                        about=_about(asked),
                        host=self.host,
                    )
                )
            yield response

    def asked(self, repo: str, revision: str | None = None, path: str | None = None) -> Asked:
        return Asked(self.host, repo, revision, path, has_token=self.token is not None)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            settings = " and ".join(["HF_ENDPOINT", *environment.proxy_variables()])
            raise OfflineError(
                msg(
                    "{host} cannot be reached: {reason}",
                    host=error.request.url.host,
                    reason=_reason(error),
                ),
                hint=msg(
                    "check the network (and {settings}), then run the same command again",
                    settings=settings,
                ),
            ) from error
        except OfflineModeIsEnabled as error:
            raise OfflineError(msg("HF_HUB_OFFLINE was set when localq started")) from error
        except httpx2.ReadTimeout as error:
            raise TransferInterrupted(
                msg(
                    "{host} has sent nothing for {silence:.0f} s",
                    host=error.request.url.host,
                    silence=_SILENCE,
                )
            ) from error
        except httpx2.TooManyRedirects as error:
            raise HubError(
                msg(
                    "{host} leads in a circle: more redirects than anyone should follow",
                    host=self.host,
                ),
                hint=msg("check HF_ENDPOINT, and that no login page of your network is in between"),
            ) from error
        except httpx2.UnsupportedProtocol as error:  # a redirect to file:// and the like
            raise HubError(
                msg("{host} leads to an address that is not on the web", host=self.host),
                hint=msg("check HF_ENDPOINT"),
            ) from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise TransferInterrupted(
                msg("{host}: {reason}", host=self.host, reason=_reason(error))
            ) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise HubError(
                msg("{host}: {reason}", host=self.host, reason=_reason(error))
            ) from error


def _client() -> httpx2.Client:
    """huggingface_hub's client; UsageError where the settings it reads allow none."""
    try:
        return get_session()
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        variables = environment.proxy_variables()
        if not variables:
            raise
        raise UsageError(
            msg(
                "{variables} names a proxy that cannot be used: {reason}",
                variables=" or ".join(variables),
                reason=_reason(error),
            ),
            hint=msg("write it as http://HOST:PORT or socks5://HOST:PORT, or unset it"),
        ) from error
    except OSError as error:
        named = next((n for n in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(n)), None)
        if named is None:
            raise
        raise UsageError(
            msg(
                "{named}: the certificates cannot be read: {reason}",
                named=named,
                reason=_reason(error),
            ),
            hint=msg("unset {named}", named=named),
        ) from error


def _parameters(address: str) -> Params:
    parameters = httpx2.URL(address).params
    return {key: parameters.get_list(key) for key in parameters}


def hang_up(response: httpx2.Response) -> None:
    """End a connection under the thread that reads from it, which sees it break."""
    stream = response.extensions.get("network_stream")
    connection = stream.get_extra_info("socket") if stream is not None else None
    if isinstance(connection, socket.socket):
        with suppress(OSError):  # it ended by itself
            # Not the TLS connection's own: that one would pull the ground from under the reader.
            socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _about(asked: Asked) -> str:
    return msg("{repo}: ", repo=asked.repo) if asked.repo else ""


def _token() -> str | None:
    if token := environment.token_variable():
        return token
    token = environment.token_file()
    # A login in the browser gives tokens that run out; huggingface_hub renews those it finds.
    same_file = str(environment.token_path()) == constants.HF_TOKEN_PATH
    if token and same_file and "HF_OIDC_RESOURCE" not in os.environ:
        return get_token() or token
    return token


def _reason(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return printable(text[:200])
