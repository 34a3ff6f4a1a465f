"""One test's database: plain SQL from the test's side, and counts of the statements that the program ran in it."""

import contextlib
import re

import psycopg2
import psycopg2.extras

from .wait import wait_until


def connect(url):
    connection = psycopg2.connect(url, connect_timeout=10)
    connection.autocommit = True
    return connection


# What a sweeper runs every second whatever its settings are.
BY_THE_CLOCK = ("mitrad.sessions_", "_prune()")


class Statements:
    """What the program ran in a database while `Database.statements()` was open."""

    def __init__(self):
        self.calls = {}  # statement's text, as pg_stat_statements normalises it: number of calls

    @property
    def total(self):
        return sum(self.calls.values())

    @property
    def for_requests(self):
        """The number of calls by which a calm instance answered; see harness.mitrad.CALM."""
        return self.total - sum(self.matching(part) for part in BY_THE_CLOCK)

    def matching(self, part):
        """The number of calls of statements that contain `part`."""
        return sum(calls for text, calls in self.calls.items() if part in text)


class Database:
    """
    A database of a private cluster.  `url` is for the program (its own role, TCP).

    The methods take SQL with %s placeholders and run as superuser, each on its own: they keep working across a restart
    of the cluster.  For a transaction of several statements, or from another thread, use connect().
    """

    def __init__(self, postgres, name):
        self.postgres = postgres
        self.name = name
        self.url = postgres.url(name)
        self.socket_url = postgres.socket_url(name)
        self._connection = None

    def url_through(self, proxy):
        return self.postgres.url(self.name, port=proxy.port)

    def connect(self):
        """A psycopg2 connection of the caller's, in autocommit mode."""
        return connect(self.postgres.url(self.name, "postgres"))

    def execute(self, sql, *arguments):
        """Runs a statement; returns the number of rows that it touched."""
        with self._cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return cursor.rowcount

    def rows(self, sql, *arguments):
        """All rows, as dictionaries."""
        with self._cursor() as cursor:
            cursor.execute(sql, arguments or None)
            return [dict(row) for row in cursor.fetchall()]

    def one(self, sql, *arguments):
        """The only row, as a dictionary; None if there is no row; two are an error."""
        found = self.rows(sql, *arguments)
        assert len(found) <= 1, f"{len(found)} rows instead of one: {sql}"
        return found[0] if found else None

    def value(self, sql, *arguments):
        """The first column of the only row."""
        row = self.one(sql, *arguments)
        return None if row is None else next(iter(row.values()))

    @contextlib.contextmanager
    def holding(self, sql, *arguments):
        """Another transaction has run this and keeps its locks until the block ends; then it is undone."""
        with contextlib.closing(self.connect()) as connection:
            connection.autocommit = False
            connection.cursor().execute(sql, arguments or None)
            yield

    def waiting(self):
        """How many statements wait for a lock."""
        return self.value(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )

    def break_connections(self):
        """Ends those that the program has now; returns when nothing that was sent through one can have an effect any more."""
        theirs = "usename = 'mitrad' AND datname = current_database()"
        ended = [row["pid"] for row in self.rows(
            f"SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE {theirs}")]
        wait_until(
            lambda: self.value(f"SELECT count(*) FROM pg_stat_activity WHERE {theirs} AND pid = ANY (%s)", ended) == 0,
            what="the connections to end")

    def deadlocks(self):
        """Who waited for whom in this database's deadlocks so far, as PostgreSQL's log tells."""
        entries = re.split(r"\n(?!\t)", self.postgres.log_text())
        return [entry for entry in entries if f"@{self.name} DETAIL:" in entry and "; blocked by process" in entry]

    @contextlib.contextmanager
    def statements(self):
        """
        Counts what the program (not the test) runs in this database meanwhile:

            with database.statements() as ran:
                mitrad.post("/api/mitra/status/heartbeat", token=token)
            assert ran.for_requests == 0

        The sweeper's statements count too: give it long periods and ask for `ran.for_requests`.
        """
        ran = Statements()
        before = self._statistics()
        yield ran
        after = self._statistics()
        ran.calls = {
            text: calls - before.get(text, 0) for text, calls in after.items() if calls > before.get(text, 0)
        }

    def drop(self):
        self.close()
        self.postgres.execute(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _cursor(self):
        if self._connection is None or self._connection.closed or not self._still_answers():
            self._connection = self.connect()
        with self._connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            yield cursor

    def _still_answers(self):
        try:
            with self._connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            return True
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            return False

    def _statistics(self):
        """{text: calls}, taken when none of the program's statements is still on its way into the statistics."""
        idle = """SELECT count(*) FROM pg_stat_activity
            WHERE datname = %s AND usename = 'mitrad' AND state <> 'idle'"""
        wait_until(
            lambda: self.postgres.execute(idle, self.name)[0][0] == 0, what="the program's statements to end"
        )
        counts = """SELECT query, sum(calls)::int FROM pg_stat_statements
            WHERE userid = 'mitrad'::regrole AND dbid = (SELECT oid FROM pg_database WHERE datname = %s)
            GROUP BY query"""
        return dict(self.postgres.execute(counts, self.name))
