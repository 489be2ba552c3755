"""The HTTP side: routes, keep-alive connections, request ids, errors in the vendor's shape.

One thread per connection, which is plenty for the tens of connections one collector opens. Answers
are given in one piece: no streaming, no key is asked for, nothing is logged.
"""

from __future__ import annotations

import json
import secrets
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from distill.demo.teacher.anthropic_wire import AnthropicWire
from distill.demo.teacher.busy import Busy
from distill.demo.teacher.openai_wire import OpenAIWire, models
from distill.demo.teacher.script import Script
from distill.demo.teacher.wire import BadRequest, Response, Wire
from distill.types import digest

MOST_BYTES = 16 * 1024 * 1024
"""Longest request body that is read."""

ROUTES: dict[str, Wire] = {
    "/v1/messages": AnthropicWire(),
    "/v1/messages/count_tokens": AnthropicWire(),
    "/v1/chat/completions": OpenAIWire(),
}


@dataclass
class Counts:
    """What the server has done so far (approximate under contention)."""

    answered: int = 0
    turned_away: int = 0


class TeacherServer(ThreadingHTTPServer):
    """The embedded teacher, listening."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], script: Script, busy: Busy) -> None:
        """Bind to `address`; port 0 picks a free one.

        Raises:
            OSError: The address cannot be bound.
        """
        self.script = script
        self.busy = busy
        self.counts = Counts()
        super().__init__(address, Handler)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that hang up; report anything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def answer(self, path: str, raw: bytes, request_id: str) -> Response:
        """Return the answer to one POST."""
        wire = ROUTES[path]
        try:
            body = json.loads(raw)
            if not isinstance(body, dict):
                raise BadRequest("the body is not a JSON object")
            request = wire.read(body)
        except ValueError as error:
            return Response(400, wire.error(400, str(error), request_id), {})
        if path.endswith("/count_tokens"):
            return Response(200, {"input_tokens": request.input_tokens}, {})
        if rejection := self.busy.reject(digest([path, body["messages"]])):
            self.counts.turned_away += 1
            return wire.rejection(rejection, request_id)
        answer = self.script.answer(request.messages, request.tools)
        self.counts.answered += 1
        return Response(200, wire.write(answer, request, secrets.token_hex(12)), {})


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: TeacherServer
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body leave together: two small packets wait for each other

    def do_GET(self) -> None:
        """Answer `/v1/models`."""
        if self._path() == "/v1/models":
            self._send(Response(200, models(), {}), OpenAIWire.request_id_header, _request_id())
        else:
            self._not_found()

    def do_POST(self) -> None:
        """Answer one API call."""
        length = int(self.headers.get("content-length") or 0)
        if length > MOST_BYTES:
            self.close_connection = True
            return
        raw = self.rfile.read(length)
        path, request_id = self._path(), _request_id()
        if path not in ROUTES:
            self._not_found()
            return
        try:
            response = self.server.answer(path, raw, request_id)
        except Exception as error:  # a fault of the script must reach the client as an answer
            body = ROUTES[path].error(500, f"the embedded teacher failed: {error!r}", request_id)
            response = Response(500, body, {})
        self._send(response, ROUTES[path].request_id_header, request_id)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay quiet: the collector reports what matters."""

    def _path(self) -> str:
        return self.path.partition("?")[0].rstrip("/")

    def _not_found(self) -> None:
        message = f"no route {self._path()!r}; there are {', '.join([*ROUTES, '/v1/models'])}"
        body = OpenAIWire().error(404, message, "")
        self._send(Response(404, body, {}), OpenAIWire.request_id_header, _request_id())

    def _send(self, response: Response, id_header: str, request_id: str) -> None:
        body = json.dumps(response.body, ensure_ascii=False).encode()
        self.send_response(response.status)
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        for name, value in (headers | {id_header: request_id} | response.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


def _request_id() -> str:
    return f"req_{secrets.token_hex(12)}"
