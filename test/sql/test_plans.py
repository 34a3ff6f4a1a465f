"""Requests run on plans that their connection keeps: to plan anew takes several times as long as to run."""

import itertools
import json
import uuid

import pytest

SESSION = str(uuid.uuid4())  # of a token; without one, to look for it is no work, and planned as such
WARM = 12  # calls; PostgreSQL tries five with plans of their own before it keeps one
MEASURED = 3

PLANNED = """SELECT coalesce(sum(s.plans), 0)::int FROM pg_stat_statements s
    JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s AND NOT s.toplevel"""


@pytest.fixture
def plans_of(rival, postgres, database):
    """
    plans_of(work): how many statements within functions are planned by work(call) on a warm connection.  The least of several
    calls counts: autovacuum may analyze a table at any time, after which all that reads it is planned once more.
    """

    def planned():
        return postgres.execute(PLANNED, database.name)[0][0]

    def count(work):
        connection = rival()
        connection.connection.autocommit = True
        connection.execute("SET pg_stat_statements.track = 'all'")
        connection.execute("SET pg_stat_statements.track_planning = on")
        for _ in range(WARM):
            work(connection.call)
        counts = [planned()]
        for _ in range(MEASURED):
            work(connection.call)
            counts.append(planned())
        return min(after - before for before, after in itertools.pairwise(counts))

    return count


def test_a_toggle_plans_nothing(plans_of, make_mitra):
    mitra = make_mitra()

    def toggle(call):
        assert call("mitra_go_online", mitra.id, SESSION)[0]["online"] is True
        assert call("mitra_go_offline", mitra.id, SESSION)[0]["online"] is False
        assert call("mitra_status", mitra.id, None)[0]["online"] is False

    assert plans_of(toggle) == 0


def test_a_session_plans_its_blast_and_nothing_else(plans_of, go_online, make_mitra, make_customer):
    """Whom to offer it to depends on how many are asked, so that much is planned for each."""
    mitra, customer = go_online(make_mitra()), make_customer()

    def session(call):
        created = json.loads(call("session_create", customer.id, SESSION, 30, [mitra.id])[0]["answer"])
        call("request_list", mitra.id)
        assert call("request_accept", mitra.id, created["id"], SESSION)[0]["problem"] is None
        assert call("request_accept", mitra.id, created["id"], SESSION)[0]["problem"] is None
        assert call("session_end", created["id"], "mitra", mitra.id, SESSION)[0]["problem"] is None
        assert call("session_end", created["id"], "mitra", mitra.id, SESSION)[0]["problem"] is None

    assert plans_of(session) <= 3
