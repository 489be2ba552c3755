"""The provider behind the recorder: where requests go, and with which key.

httpx2, because the vendors' SDKs use it: what the agent reached directly (proxies and certificates
of the environment) is reached from here too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import httpx2

from distill.config import TeacherConfig
from distill.errors import ConfigError

HOSTED = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com/v1"}
CONNECT_TIMEOUT_S = 30.0
"""The only limit of time: how long an answer may take is the agent's to say."""

_HOPS = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that are about one connection."""
_OURS = frozenset({"host", "content-length", "accept-encoding", "expect"})
_KEYS = frozenset({"authorization", "x-api-key", "api-key"})

Headers = Sequence[tuple[bytes, bytes]]


class Upstream:
    """Sends requests on. Made inside the event loop that uses it."""

    def __init__(self, teacher: TeacherConfig) -> None:
        """Find out where requests go; nothing is sent yet.

        Raises:
            ConfigError: The config does not say.
        """
        self.root, self._cut = address(teacher)
        self._key = own_key(teacher)
        self._anthropic = teacher.provider == "anthropic"
        self._client = httpx2.AsyncClient(
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(
        self, method: str, path: str, query: str, headers: Headers, body: bytes
    ) -> httpx2.Response:
        """Send a request and return its answer, whose body is still to be read.

        Raises:
            httpx2.HTTPError: The provider cannot be reached.
        """
        url = self.root + path.removeprefix(self._cut) + (f"?{query}" if query else "")
        request = httpx2.Request(method, url, headers=self._headers(headers), content=body or None)
        return await self._client.send(request, stream=True)

    def _headers(self, headers: Headers) -> list[tuple[bytes, bytes]]:
        dropped = _HOPS | _OURS | _listed(headers) | (_KEYS if self._key else frozenset())
        kept = [(name, value) for name, value in headers if name.decode().lower() not in dropped]
        accepted = b",".join(v for n, v in headers if n.lower() == b"accept-encoding")
        # Of what the agent can unpack, what can be unpacked here too.
        kept.append((b"accept-encoding", b"gzip" if b"gzip" in accepted else b"identity"))
        if self._key and self._anthropic:
            kept.append((b"x-api-key", self._key.encode()))
        elif self._key:
            kept.append((b"authorization", f"Bearer {self._key}".encode()))
        return kept


def address(teacher: TeacherConfig) -> tuple[str, str]:
    """Return where paths are appended, and what of a path stands there already.

    The base URL of OpenAI's SDK ends where `/v1` of the agent's paths does; Anthropic's before it.

    Raises:
        ConfigError: A server of the user's own without its address.
    """
    root = teacher.base_url or HOSTED.get(teacher.provider)
    if root is None:
        raise ConfigError(
            f"teacher.base_url: provider {teacher.provider!r} needs the server's address, such as "
            "http://127.0.0.1:8000/v1"
        )
    return root.rstrip("/"), "" if teacher.provider == "anthropic" else "/v1"


def own_key(teacher: TeacherConfig) -> str | None:
    """Return the key that takes the place of the agent's; None: the agent's own is passed on."""
    return os.environ.get(teacher.api_key_env or "") or None


def passed_back(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer that are not about the connection it came on."""
    listed = list(headers)
    dropped = _HOPS | _listed(listed)
    return [(n.lower(), value) for n, value in listed if n.decode().lower() not in dropped]


def _listed(headers: Headers) -> frozenset[str]:
    """Return the further headers that `Connection` names."""
    values = [value.decode() for name, value in headers if name.lower() == b"connection"]
    return frozenset(word.strip().lower() for value in values for word in value.split(","))
