"""HTTP from the test's side: one small client, one small answer, and a raw socket for what no client would send."""

import http.client
import json as json_module
import socket
from dataclasses import dataclass


@dataclass
class Response:
    status: int
    headers: dict  # names in lower case; of repeated headers the last
    text: str

    @property
    def json(self):
        return json_module.loads(self.text)

    @property
    def code(self):
        """The `code` of a problem+json answer; None for any other."""
        if not self.headers.get("content-type", "").startswith("application/problem+json"):
            return None
        return self.json.get("code")


def problem_of(answer, status, code):
    """The answer's document, which must be a complete problem+json (RFC 9457, docs/api.md) of that code."""
    assert (answer.status, answer.code) == (status, code), answer
    document = answer.json
    assert {"type", "title", "status", "code", "detail", "request_id"} <= document.keys()
    assert document["type"] == "about:blank" and document["status"] == status
    assert document["title"] and document["detail"]
    assert document["request_id"] == answer.headers["x-request-id"]
    waiting = document.get("retry_after_seconds")
    assert answer.headers.get("retry-after") == (None if waiting is None else str(waiting))
    assert (status in (423, 429, 503)) == (waiting is not None)
    assert (status == 401) == ("www-authenticate" in answer.headers)
    assert (status == 405) == ("allow" in answer.headers)
    for error in document.get("errors", []):
        assert error.keys() == {"field", "detail"} and error["detail"]
    return document


def fields_of(document):
    """The fields that a problem complains about, sorted."""
    return sorted(error["field"] for error in document.get("errors", []))


class Api:
    """One listener of the program under test.  Every request has a connection of its own."""

    def __init__(self, port, host="127.0.0.1"):
        self.host = host
        self.port = port

    def request(self, method, path, token=None, json=None, body=None, headers=None, timeout=30):
        """`json` is encoded and labelled; `body` (str or bytes) goes out as it is."""
        sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
        if json is not None:
            body = json_module.dumps(json)
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body=body, headers=sent)
            return read_response(connection.getresponse())
        finally:
            connection.close()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, **more):
        return self.request("POST", path, **more)

    def patch(self, path, **more):
        return self.request("PATCH", path, **more)

    def connect(self, timeout=30):
        """A plain socket to the listener."""
        return socket.create_connection((self.host, self.port), timeout=timeout)

    def raw(self, request, timeout=30):
        """Sends bytes, and returns all that comes back until the server closes the connection."""
        with self.connect(timeout) as stream:
            stream.sendall(request)
            return read_all(stream)


def read_response(answer):
    headers = {name.lower(): value for name, value in answer.getheaders()}
    return Response(answer.status, headers, answer.read().decode())


def read_all(stream):
    """What comes until the other side closes; a reset counts as the end."""
    received = b""
    while True:
        try:
            piece = stream.recv(65536)
        except ConnectionResetError:
            return received
        if not piece:
            return received
        received += piece
