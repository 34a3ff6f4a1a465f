"""
Private PostgreSQL clusters.

The program under test connects as `mitrad`, which owns its database and is no superuser; the tests connect as
`postgres`.  So the program's statements are told from our own by the role.
"""

import functools
import glob
import os
import pwd
import shutil
import signal
import subprocess

import psycopg2

from . import ports, program, scratch
from .database import Database, connect
from .process import PrivateServer, launch

CONFIGURATION = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
max_connections = 200
shared_buffers = 32MB
# Commits survive the death of the process, which the tests cause, but not that of the machine, which they do not.
fsync = off
full_page_writes = off
# Far from UTC on purpose: no answer may depend on the zone of the server.
timezone = 'Asia/Jakarta'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %u@%d '
{statistics}
"""
STATISTICS = """
shared_preload_libraries = 'pg_stat_statements'
pg_stat_statements.max = 20000
"""


@functools.cache
def programs():
    """The directory of initdb and postgres: Debian's newest version, or what the PATH has."""
    found = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    newest = max(found, key=lambda path: int(path.split("/")[4]), default=shutil.which("initdb"))
    if newest is None:
        raise RuntimeError("PostgreSQL's initdb is not installed")
    return os.path.dirname(os.path.realpath(newest))


def server_user():
    """PostgreSQL refuses to run as root; None: it may run as we do."""
    if os.geteuid() != 0:
        return None
    known = {user.pw_name for user in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


class Postgres(PrivateServer):
    """A cluster in a scratch directory.  One lasts for many tests; ensure_running() repairs what a test did to it."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # a fast shutdown: sessions are ended, data is kept
    orphan_signal = "QUIT"  # at once, taking the children along

    def __init__(self):
        self.run_as = server_user()
        super().__init__(scratch.directory("postgres", owner=self.run_as))
        self.data = os.path.join(self.directory, "data")
        self.port = None
        self._template = None
        self._databases = 0
        self._create_cluster()

    def url(self, database, role="mitrad", port=None):
        """A URL over TCP; `port` is a proxy's, to go through it."""
        return f"postgresql://{role}@127.0.0.1:{port or self.port}/{database}"

    def socket_url(self, database, role="mitrad"):
        """The same over the Unix socket, as a keyword string."""
        return f"host={self.directory} port={self.port} user={role} dbname={database}"

    def start(self):
        # The port stays the same while the cluster lives, for programs remember it; only the first start may choose.
        for attempt in range(5):
            if self.port is None or attempt:
                self._choose_port()
            try:
                return super().start()
            except RuntimeError:
                if "could not bind" not in self.log_tail() or self._databases:
                    raise
        raise RuntimeError(f"no free port for PostgreSQL:\n{self.log_tail()}")

    def restart(self, immediate=False):
        """`immediate`: without ending sessions in order, as after a crash."""
        if immediate:
            self._end(signal.SIGQUIT)
            return self.start()
        return super().restart()

    def create_database(self, migrated=True):
        """A new Database, empty or with the schema in it.  It is cheap: a copy of one that was migrated once."""
        self._databases += 1
        name = f"t{self._databases}"
        template = self._migrated_template() if migrated else "template1"
        self.execute(f"CREATE DATABASE {name} OWNER mitrad TEMPLATE {template}")
        return Database(self, name)

    def execute(self, sql, *arguments):
        """One statement as superuser, outside of the tests' databases."""
        connection = connect(self.url("postgres", "postgres"))
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, arguments or None)
                return cursor.fetchall() if cursor.description else None
        finally:
            connection.close()

    def _create_cluster(self):
        command = [
            os.path.join(programs(), "initdb"),
            *("--pgdata", self.data, "--username", "postgres", "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C.UTF-8", "--no-sync", "--no-instructions"),
        ]
        if launch(command, self.directory, self.log, self._environment(), self.run_as).wait() != 0:
            raise RuntimeError(f"initdb failed:\n{self.log_tail()}")
        self.start()
        self.execute("CREATE ROLE mitrad LOGIN")
        if self._has_statistics():
            self.execute("CREATE EXTENSION pg_stat_statements")

    def _choose_port(self):
        self.port = ports.free_port()
        statistics = STATISTICS if self._has_statistics() else ""
        # Appended, for the last word counts: initdb has found out what the machine can do.
        with open(os.path.join(self.data, "postgresql.conf"), "a", encoding="utf-8") as file:
            file.write(CONFIGURATION.format(port=self.port, directory=self.directory, statistics=statistics))

    @staticmethod
    @functools.cache
    def _has_statistics():
        """Whether the contrib modules are installed."""
        shared = subprocess.run(
            [os.path.join(programs(), "pg_config"), "--sharedir"], capture_output=True, text=True, check=False
        ).stdout.strip()
        return os.path.exists(os.path.join(shared, "extension", "pg_stat_statements.control"))

    def _migrated_template(self):
        if self._template is None:
            self.execute("CREATE DATABASE migrated OWNER mitrad")
            program.run("migrate", settings={"DATABASE_URL": self.url("migrated")}, check=True)
            self._template = "migrated"
        return self._template

    def _command(self):
        return [os.path.join(programs(), "postgres"), "-D", self.data]

    def _answers(self):
        try:
            connect(self.url("postgres", "postgres")).close()
        except psycopg2.OperationalError:
            return False
        return True
