"""Requests to the Hub, through huggingface_hub's own HTTP client.

Its client knows the user's proxies and certificates. Its request helpers are not used: they wait
without a way to stop, send no Retry-After home, and read the environment only when imported.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import constants, get_session, get_token
from huggingface_hub.errors import OfflineModeIsEnabled

from localq.errors import HubError, OfflineError
from localq.hub import environment
from localq.hub.refusals import Asked, refusal
from localq.hub.source import Interrupted
from localq.version import __version__

__all__ = ["HubSession"]

_TIMEOUT = httpx2.Timeout(10.0)
"""Seconds of silence; also how long a stop may take while the server says nothing."""
_MAX_ANSWER = 64 << 20


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

    def json(
        self, path: str, asked: Asked, params: Mapping[str, str]
    ) -> tuple[object, dict[str, str] | None]:
        """The API's answer, and the parameters that ask for its next page where there is one."""
        with self.get(path, asked, params=params) as response:
            body = bytearray()
            for chunk in response.iter_bytes():
                body += chunk
                if len(body) > _MAX_ANSWER:
                    raise HubError(f"{asked.repo}: the Hub's answer is too long to be right")
            try:
                answer = json.loads(body)
            except (ValueError, RecursionError):
                raise HubError(
                    f"{asked.repo}: {self.host} does not answer as a Hub does",
                    hint="check HF_ENDPOINT, and that no login page of your network is in between",
                ) from None
            # Only its parameters: the address may lead elsewhere, the token must not.
            next_page = response.links.get("next", {}).get("url")
            return answer, dict(httpx2.URL(next_page).params) if next_page else None

    @contextmanager
    def get(
        self, path: str, asked: Asked, *, params: Mapping[str, str] | None = None, offset: int = 0
    ) -> Iterator[httpx2.Response]:
        """The answer to a GET, its body still to be read; status 200, 206 or 416.

        Raises what `refusal` says for other answers; OfflineError where no connection can be
        made and Interrupted where it breaks, now or while the body is read.
        """
        # Compressed answers could not be continued at an offset.
        headers = {"User-Agent": f"localq/{__version__}", "Accept-Encoding": "identity"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with (
            self._explained(),
            get_session().stream(
                "GET",
                self.endpoint + path,
                headers=headers,
                params=params,
                timeout=_TIMEOUT,
                follow_redirects=True,
            ) as response,
        ):
            if response.status_code not in (200, 206, 416):
                raise refusal(response.status_code, response.headers, asked)
            yield response

    def asked(self, repo: str, revision: str | None = None, path: str | None = None) -> Asked:
        return Asked(self.host, repo, revision, path, has_token=self.token is not None)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
            raise OfflineError(
                f"{error.request.url.host} cannot be reached: {_reason(error)}",
                hint="check the network (and HF_ENDPOINT), then run the same command again",
            ) from error
        except OfflineModeIsEnabled as error:
            raise OfflineError("HF_HUB_OFFLINE was set when localq started") from error
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            raise Interrupted(f"{self.host}: {_reason(error)}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise HubError(f"{self.host}: {_reason(error)}") from error


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
    return "".join(c if c.isprintable() else " " for c in text[:200])
