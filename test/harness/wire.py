"""A client that sends exactly the bytes it is told to, and reads answers one at a time."""

import json
import socket
import struct

from harness.api import Response

NO_BODY = (204, 304)


def get(*fields, line=b"GET /livez HTTP/1.1", host=b"Host: a"):
    return b"\r\n".join([line, *([host] if host else []), *fields, b"", b""])


def post(*fields, body=b""):
    return get(*fields, line=b"POST /livez HTTP/1.1") + body


def chunked(body):
    return post(b"Transfer-Encoding: chunked", body=body)


GOOD = get()


class Wire:
    """One connection.  `small=True` keeps the kernel from buffering much of what the server writes."""

    def __init__(self, port, timeout=30, small=False):
        self.socket = socket.socket()
        if small:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.received = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *pieces):
        """Each piece is a packet of its own, as far as that can be had."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.socket.sendall(piece)
        return self

    def end(self):
        """Shuts down this side; the other may go on."""
        self.socket.shutdown(socket.SHUT_WR)
        return self

    def reset(self):
        """Goes away without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer(self, method="GET"):
        """The next answer, whole."""
        while b"\r\n\r\n" not in self.received:
            self._receive()
        head, _, self.received = self.received.partition(b"\r\n\r\n")
        first, *fields = head.decode().split("\r\n")
        version, status, _ = first.split(" ", 2)
        assert version == "HTTP/1.1" or version == "HTTP/1.0", first
        pairs = [field.split(":", 1) for field in fields]
        headers = {name.lower(): value.strip() for name, value in pairs}
        if method == "HEAD" or int(status) < 200 or int(status) in NO_BODY:
            length = 0
        elif "content-length" in headers:
            length = int(headers["content-length"])
        else:
            length = self._receive_all()
        while len(self.received) < length:
            self._receive()
        body, self.received = self.received[:length], self.received[length:]
        return Response(int(status), headers, body.decode())

    def closed(self):
        """Waits for the end; true if nothing came before it."""
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            piece = b""
        return self.received + piece == b""

    def _receive_all(self):
        """For an answer that is ended by the end of the connection; its length."""
        while piece := self.socket.recv(65536):
            self.received += piece
        return len(self.received)

    def _receive(self):
        piece = self.socket.recv(65536)
        assert piece, f"closed in the midst of an answer: {self.received!r}"
        self.received += piece


def problem_of(answer):
    """The problem of a refusal, after checking all that docs/api.md promises of one."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    problem = json.loads(answer.text)
    assert problem["type"] == "about:blank" and problem["title"] and problem["detail"]
    assert problem["status"] == answer.status
    assert problem["request_id"] == answer.headers["x-request-id"]
    return problem
