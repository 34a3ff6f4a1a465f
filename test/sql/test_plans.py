"""Requests run on plans that their connection keeps: to plan anew takes several times as long as to run."""

import uuid

import pytest

SESSION = str(uuid.uuid4())  # of a token; without one, to look for it is no work, and planned as such
WARM = 12  # calls; PostgreSQL tries five with plans of their own before it keeps one

PLANNED = """SELECT coalesce(sum(s.plans), 0)::int FROM pg_stat_statements s
    JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s AND NOT s.toplevel"""


@pytest.fixture
def plans_of(rival, postgres, database):
    """plans_of(work): how many statements within functions are planned by work(call) on a warm connection."""

    def planned():
        return postgres.execute(PLANNED, database.name)[0][0]

    def count(work):
        connection = rival()
        connection.connection.autocommit = True
        connection.execute("SET pg_stat_statements.track = 'all'")
        connection.execute("SET pg_stat_statements.track_planning = on")
        for _ in range(WARM):
            work(connection.call)
        before = planned()
        work(connection.call)
        return planned() - before

    return count


def test_a_toggle_plans_nothing(plans_of, make_mitra):
    mitra = make_mitra()

    def toggle(call):
        assert call("mitra_go_online", mitra.id, SESSION)[0]["online"] is True
        assert call("mitra_go_offline", mitra.id, SESSION)[0]["online"] is False
        assert call("mitra_status", mitra.id, None)[0]["online"] is False

    assert plans_of(toggle) == 0
