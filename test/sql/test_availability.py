"""The one definition of available, at its edges, and who builds on it."""

import json
import uuid

import pytest


@pytest.fixture
def mitra(make_mitra, go_online):
    return go_online(make_mitra())


def available(rows_of):
    return [row["id"] for row in rows_of("availability")]


@pytest.fixture
def at_once(rival):
    """A transaction, in which now() stands still: so an age can be met to the microsecond."""
    connection = rival()

    def ages(mitra, age):
        connection.execute(
            "UPDATE mitra_online_status SET last_heartbeat_at = now() - %s::interval WHERE mitra_id = %s",
            *(age, mitra.id),
        )
        reachable = connection.call("mitra_reachable", mitra.id)[0]["reachable"]
        count = connection.call("availability_count")[0]["count"]
        listed = connection.call("availability")
        assert count == len(listed) == int(reachable)
        return reachable

    return ages


def test_a_heartbeat_of_exactly_the_limit_is_fresh_and_one_a_microsecond_older_is_not(at_once, mitra):
    assert at_once(mitra, "90 seconds") is True
    assert at_once(mitra, "90.000001 seconds") is False


def test_the_limit_is_the_configured_one(at_once, mitra, database):
    database.execute("UPDATE app_config SET value = '20' WHERE key = 'stale_after_seconds'")
    assert at_once(mitra, "20 seconds") is True
    assert at_once(mitra, "21 seconds") is False


def test_one_session_below_the_maximum_is_available_and_the_maximum_is_not(
    rows_of, call, database, mitra, make_session
):
    make_session(mitra)
    make_session(mitra, status="pending_payment")
    make_session(mitra, status="ended")
    assert [(row["id"], row["sessions"]) for row in rows_of("availability")] == [(mitra.id, 2)]
    make_session(mitra)
    assert available(rows_of) == []
    assert call("availability_count")["count"] == 0
    database.execute("UPDATE app_config SET value = '4' WHERE key = 'max_customers_per_mitra'")
    assert available(rows_of) == [mitra.id]


def test_a_full_mitra_is_reachable_though_not_available(call, mitra, make_session):
    for _ in range(3):
        make_session(mitra)
    assert call("mitra_reachable", mitra.id)["reachable"] is True


@pytest.mark.parametrize("edit", [
    "UPDATE mitras SET is_active = false",
    "UPDATE mitra_online_status SET is_online = false",
    "UPDATE mitra_online_status SET last_heartbeat_at = NULL",
    "DELETE FROM mitra_online_status",
])
def test_who_is_offline_deactivated_or_was_never_heard_of_is_neither(rows_of, call, database, mitra, edit):
    database.execute(edit)
    assert available(rows_of) == []
    assert call("mitra_reachable", mitra.id)["reachable"] is False


def test_nobody_knows_whether_a_mitra_who_does_not_exist_is_reachable(call):
    assert call("mitra_reachable", str(uuid.uuid4())) == {"reachable": None}


def test_the_least_busy_come_first(rows_of, make_mitra, go_online, make_session):
    mitras = [go_online(make_mitra()) for _ in range(4)]
    for mitra, sessions in zip(mitras, (2, 0, 1, 0)):
        for _ in range(sessions):
            make_session(mitra)
    idle = sorted([mitras[1].id, mitras[3].id])
    assert available(rows_of) == [*idle, mitras[2].id, mitras[0].id]


def test_the_dashboard_counts(call, database, make_mitra, go_online, make_session):
    go_online(make_mitra())
    go_online(make_mitra(), age=600)
    busy = go_online(make_mitra())
    make_mitra(is_active=False)
    for status in ("active", "active", "pending_payment", "searching", "ended"):
        make_session(busy if status != "searching" else None, status=status)
    sessions = {"active_sessions": 2, "searching_sessions": 1, "pending_payment_sessions": 1}
    assert sessions.items() <= call("session_counts").items()
    shown = json.loads(call("dashboard", None, None, None)["answer"])
    mitras = {"online_mitras": 3, "available_mitras": 1, "deactivated_mitras": 1}
    assert {**mitras, **sessions, "source": "postgres"}.items() <= shown.items()


def test_open_sessions_are_counted_in_their_own_index(rival, make_session):
    make_session(status="searching")
    reader = rival()
    reader.execute("SET LOCAL enable_seqscan = off")
    plan = reader.execute("EXPLAIN SELECT * FROM mitrad.session_counts()")
    assert any("chat_sessions_open" in row["QUERY PLAN"] for row in plan)
