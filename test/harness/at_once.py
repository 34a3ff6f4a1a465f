"""
Many requests in one moment: every one has a connection that is open already, and all of them are written before the
first answer is read.  So the server has them all at hand, as many as there are, however slow the client is.
"""

import http.client
import json
from dataclasses import dataclass

from .api import Api, read_response


@dataclass
class Ask:
    """One request; `api` is the listener that it goes to."""

    api: Api
    method: str
    path: str
    token: str = None
    json: object = None

    def encoded(self):
        body = b"" if self.json is None else json.dumps(self.json).encode()
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {self.api.host}", "Connection: close",
            f"Content-Length: {len(body)}"]
        if self.token is not None:
            lines.append(f"Authorization: Bearer {self.token}")
        if body:
            lines.append("Content-Type: application/json")
        return "\r\n".join([*lines, "", ""]).encode() + body


def ask_at_once(asks, timeout=60):
    """The answers in the order of `asks`; None where the connection broke, as when its worker was killed."""
    encoded = [ask.encoded() for ask in asks]
    streams = [ask.api.connect(timeout) for ask in asks]
    try:
        sent = [_sent(stream, request) for stream, request in zip(streams, encoded)]
        return [_answer(stream, ask.method) if good else None for stream, ask, good in zip(streams, asks, sent)]
    finally:
        for stream in streams:
            stream.close()


def _sent(stream, request):
    try:
        stream.sendall(request)
        return True
    except OSError:
        return False


def _answer(stream, method):
    answer = http.client.HTTPResponse(stream, method=method)
    try:
        answer.begin()
        return read_response(answer)
    except (http.client.HTTPException, ConnectionError):
        return None
    finally:
        answer.close()
