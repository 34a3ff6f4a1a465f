"""What the tests of the SQL functions share: calling one, and two connections in a race."""

import threading

import psycopg2.extras
import pytest

from harness.wait import wait_until


def literal(value):
    """Lists go as array literals, so that the function's own types decide what they hold."""
    if isinstance(value, (list, tuple)):
        return "{" + ",".join("NULL" if item is None else f'"{item}"' for item in value) + "}"
    return value


def statement(function, arguments):
    return f"SELECT * FROM mitrad.{function}({', '.join(['%s'] * len(arguments))})"


@pytest.fixture
def rows_of(database):
    """rows_of("mirror_page", None, 10): every row that the function returns, as dictionaries."""
    return lambda function, *arguments: database.rows(
        statement(function, arguments), *map(literal, arguments)
    )


@pytest.fixture
def call(database):
    """call("mitra_go_online", id, None): the one row that the function returns, as a dictionary."""
    return lambda function, *arguments: database.one(
        statement(function, arguments), *map(literal, arguments)
    )


class Rival:
    """A connection of its own, in a transaction that ends when the test says so; statements may run in a thread."""

    def __init__(self, database):
        self.database = database
        self.connection = database.connect()
        self.connection.autocommit = False
        self.thread = None
        self.outcome = None

    def call(self, function, *arguments):
        return self.execute(statement(function, arguments), *map(literal, arguments))

    def execute(self, sql, *arguments):
        with self.connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
            cursor.execute(sql, arguments or None)
            return [dict(row) for row in cursor.fetchall()] if cursor.description else None

    def commit(self):
        self.connection.commit()

    def begin_call(self, function, *arguments):
        """Starts the call and commits after it; returns when it waits for a lock that somebody else holds."""

        def work():
            try:
                self.outcome = self.call(function, *arguments)
                self.commit()
            except psycopg2.Error as error:
                self.outcome = error

        self.thread = threading.Thread(target=work)
        self.thread.start()
        pid = self.connection.info.backend_pid
        waiting = "SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = %s"
        wait_until(lambda: self.database.value(waiting, pid), what=f"{function} to wait for the lock")

    def result(self):
        """What the call that was begun returned; it must have gone well."""
        self.thread.join(30)
        assert not self.thread.is_alive()
        assert not isinstance(self.outcome, Exception), self.outcome
        return self.outcome

    def close(self):
        self.connection.cancel()
        if self.thread is not None:
            self.thread.join(30)
        self.connection.close()


@pytest.fixture
def rival(database):
    """rival(): another connection, in a transaction."""
    made = []

    def make():
        made.append(Rival(database))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def version_of(database):
    return lambda mitra: database.value("SELECT version FROM mitras WHERE id = %s", mitra.id)


@pytest.fixture
def go_online(database, call):
    """go_online(mitra, age=0): online, with the last heartbeat and the beginning that many seconds ago."""

    def online(mitra, age=0):
        assert call("mitra_go_online", mitra.id, None)["problem"] is None
        database.execute(
            """UPDATE mitra_online_status SET last_heartbeat_at = now() - make_interval(secs => %s),
               online_since = now() - make_interval(secs => %s) WHERE mitra_id = %s""",
            *(age, age, mitra.id),
        )
        return mitra

    return online
