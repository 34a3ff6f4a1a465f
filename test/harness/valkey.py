"""Private Valkey servers, plain or with a password or TLS."""

import os
import subprocess

import redis

from . import ports, scratch
from .process import PrivateServer


class Valkey(PrivateServer):
    """
    A Valkey in a scratch directory, on a port of its own that it keeps across restarts.  It saves nothing by itself.

        password, username   required of clients; without a username the default user has the password
        tls                  speaks TLS only; `ca_file` is what a client must trust
        options              further settings, {"maxmemory-policy": "noeviction"}
    """

    name = "Valkey"

    def __init__(self, password=None, username=None, tls=False, options=None):
        super().__init__(scratch.directory("valkey"))
        self.password = password
        self.username = username
        self.tls = tls
        self.options = options or {}
        self.port = None
        self.ca_file = os.path.join(self.directory, "certificate.pem") if tls else None
        if tls:
            self._make_certificate()

    @property
    def url(self):
        return self.url_on(self.port)

    def url_through(self, proxy):
        return self.url_on(proxy.port)

    def url_on(self, port, host="127.0.0.1", database=None):
        scheme = "rediss" if self.tls else "redis"
        secret = f"{self.username or ''}:{self.password}@" if self.password else ""
        # A certificate names hosts; "localhost" stands in ours.
        host = "localhost" if self.tls and host == "127.0.0.1" else host
        return f"{scheme}://{secret}{host}:{port}" + ("" if database is None else f"/{database}")

    def client(self):
        """A redis-py client of the caller's, answering str."""
        tls = {"ssl": True, "ssl_ca_certs": self.ca_file} if self.tls else {}
        return redis.Redis(
            host="localhost" if self.tls else "127.0.0.1",
            port=self.port,
            username=self.username,
            password=self.password,
            decode_responses=True,
            socket_timeout=10,
            **tls,
        )

    def start(self):
        first = self.port is None
        for _ in range(5):
            if first:
                self.port = ports.free_port()
            try:
                return super().start()
            except RuntimeError:
                if not first or "Address already in use" not in self.log_tail():
                    raise
        raise RuntimeError(f"no free port for Valkey:\n{self.log_tail()}")

    def restart(self, keep=False):
        """With all data lost, or kept."""
        if keep:
            with self.client() as client:
                client.save()
        self.stop()
        if not keep:
            self.forget()
        return self.start()

    def forget(self):
        """Loses what a stopped server would load at its next start."""
        dump = os.path.join(self.directory, "dump.rdb")
        if os.path.exists(dump):
            os.remove(dump)

    def _command(self):
        listen = {"port": 0, "tls-port": self.port} if self.tls else {"port": self.port}
        settings = {"bind": "127.0.0.1", "save": "", "dir": self.directory, **listen, **self.options}
        if self.tls:
            settings.update(
                {
                    "tls-cert-file": self.ca_file,
                    "tls-key-file": os.path.join(self.directory, "key.pem"),
                    "tls-ca-cert-file": self.ca_file,
                    "tls-auth-clients": "no",
                }
            )
        command = ["valkey-server"]
        for name, value in settings.items():
            command += [f"--{name}", str(value)]
        if self.password and self.username:
            command += ["--user", self.username, "on", f">{self.password}", "~*", "&*", "+@all"]
            command += ["--user", "default", "off"]
        elif self.password:
            command += ["--requirepass", self.password]
        return command

    def _answers(self):
        try:
            with self.client() as client:
                return client.ping()
        except redis.RedisError:
            return False

    def _make_certificate(self):
        key = os.path.join(self.directory, "key.pem")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-keyout", key, "-out", self.ca_file, "-days", "2", "-subj", "/CN=localhost"),
                *("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            ],
            check=True,
            capture_output=True,
        )
