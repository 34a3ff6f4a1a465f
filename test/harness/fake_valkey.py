"""A server that speaks just enough of Valkey's protocol to be looked at, and says of itself what a test wants."""

import socketserver
import threading
import time

INFO = {
    "redis_version": "7.2.4",
    "valkey_version": "8.0.1",
    "maxclients": "10000",
    "used_memory": "1000000",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "rdb_last_bgsave_status": "ok",
    "aof_enabled": "0",
    "role": "master",
    "cluster_enabled": "0",
}


class FakeValkey:
    """`info` changes lines of INFO (None leaves one out); `refused` are commands that are answered with an error."""

    def __init__(self, info=None, refused=(), clock_ahead_seconds=0):
        self.info = {name: value for name, value in {**INFO, **(info or {})}.items() if value is not None}
        self.refused = refused
        self.clock_ahead_seconds = clock_ahead_seconds
        fake = self

        class Connection(socketserver.StreamRequestHandler):
            def handle(self):
                while command := _read_command(self.rfile):
                    self.wfile.write(fake._answer(command))

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Connection)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.server.server_address[1]}"

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def _answer(self, command):
        name = command[0].upper()
        if name in self.refused:
            return f"-ERR unknown command '{name}'\r\n".encode()
        if name == "INFO":
            return _bulk("".join(f"{key}:{value}\r\n" for key, value in self.info.items()))
        if name == "TIME":
            seconds, rest = divmod(time.time() + self.clock_ahead_seconds, 1)
            return b"*2\r\n" + _bulk(str(int(seconds))) + _bulk(str(int(rest * 1e6)))
        if name == "CONFIG":
            return b"*2\r\n" + _bulk("save") + _bulk("")
        return b"+OK\r\n"


def _bulk(text):
    return f"${len(text)}\r\n{text}\r\n".encode()


def _read_command(stream):
    """The words of the next command; None at the end."""
    header = stream.readline()
    if not header.startswith(b"*"):
        return None
    words = []
    for _ in range(int(header[1:])):
        length = int(stream.readline()[1:])
        words.append(stream.read(length + 2)[:-2].decode())
    return words
