"""A service that the program calls over real HTTPS: what it was asked is kept, and how it answers a test decides."""

import functools
import http.server
import json
import os
import ssl
import subprocess
import threading
from dataclasses import dataclass

from . import scratch


@functools.cache
def certificate():
    """(certificate, key) for localhost, made once; the certificate is its own authority: what a client must trust."""
    directory = scratch.directory("certificate")
    made, key = os.path.join(directory, "certificate.pem"), os.path.join(directory, "key.pem")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-keyout", key, "-out", made, "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )
    return made, key


@dataclass
class Asked:
    """One request that arrived."""

    method: str
    path: str
    headers: dict  # names in lower case
    body: str

    @property
    def json(self):
        return json.loads(self.body)


class Service:
    """
    Listens on https://localhost:PORT until stop().  `answer(asked)` returns (status, headers, body); a body that is no
    text is sent as JSON; None closes the connection without an answer.  It may wait: every connection has a thread of its
    own, and is kept as long as the client likes.
    """

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.connections = set()  # ports of the clients that are connected, or whose requests are under way
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate())
        # The handshake belongs to the connection's thread, not to the one that accepts.
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    @property
    def ca_file(self):
        return certificate()[0]

    @property
    def url(self):
        return f"https://localhost:{self._server.server_address[1]}"

    def stop(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(service):
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self):
            service.connections.add(self.client_address[1])
            try:
                super().handle()
            except OSError:
                pass  # the client went away
            finally:
                service.connections.discard(self.client_address[1])

        def do_POST(self):
            length = int(self.headers.get("Content-Length", 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(self.command, self.path, headers, self.rfile.read(length).decode())
            service.asked.append(asked)
            answer = service.answer(asked)
            if answer is None:
                self.close_connection = True
                return
            status, more, body = answer
            text = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **more}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    return Handler
