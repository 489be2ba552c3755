"""Where vLLM listens: a socket file in a folder that only this user can enter.

vLLM's own key does not cover `/adapters`, `/tokenize`, `/invocations` and `/metrics`. Behind a
socket file no other user and no other machine reaches them, and no port has to be free. The key
guards the rest a second time.
"""

from __future__ import annotations

import secrets
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

HOST = "http://vllm"
"""Stands for the socket in addresses; nothing is looked up."""


@dataclass(frozen=True)
class Address:
    """The way to one vLLM server."""

    file: Path
    key: str = field(repr=False)

    def listens(self) -> bool:
        """Whether anybody takes connections there."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.file))
            except OSError:
                return False
        return True

    def client(self, timeout_s: float) -> httpx2.Client:
        """Return a client whose paths start at the server's root."""
        transport = httpx2.HTTPTransport(uds=str(self.file))
        return httpx2.Client(
            transport=transport, base_url=HOST, headers=self.headers, timeout=timeout_s
        )

    @property
    def template(self) -> Path:
        """Where the chat template lies that vLLM reads."""
        return self.file.with_name("chat_template.jinja")

    @property
    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}


@contextmanager
def private_address() -> Iterator[Address]:
    """Yield a fresh address; its folder is removed after the block."""
    with tempfile.TemporaryDirectory(prefix="distill-") as folder:  # made with mode 0700
        yield Address(Path(folder) / "vllm.sock", secrets.token_urlsafe(24))
