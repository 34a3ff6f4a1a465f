"""Marks: whom the matcher must look at, whoever made the change."""

import pytest


@pytest.fixture
def marks(database):
    """marks(): {mitra: ("offers", "lost")} since the last call, each if it was set."""

    def take():
        rows = database.rows("DELETE FROM matching_marks RETURNING mitra_id, offers_at, lost_at")
        return {row["mitra_id"]: tuple(what for what in ("offers", "lost") if row[f"{what}_at"]) for row in rows}

    return take


def test_who_comes_online_is_marked_by_a_transition_or_by_hand(database, call, make_mitra, marks):
    first, again, by_hand = make_mitra(), make_mitra(), make_mitra()
    for mitra in (again, by_hand):
        call("mitra_go_online", mitra.id, None)
        call("mitra_go_offline", mitra.id, None)
    marks()
    call("mitra_go_online", first.id, None)
    call("mitra_go_online", again.id, None)
    database.execute("UPDATE mitra_online_status SET is_online = true WHERE mitra_id = %s", by_hand.id)
    assert marks() == {mitra.id: ("offers", "lost") for mitra in (first, again, by_hand)}


def test_who_was_online_and_is_is_not_marked(database, call, make_mitra, go_online, marks):
    mitra = go_online(make_mitra())
    marks()
    call("mitra_go_online", mitra.id, None)
    call("heartbeats_store", [mitra.id], ["2026-01-01T00:00:00Z"])
    database.execute("UPDATE mitra_online_status SET is_online = true, last_heartbeat_at = now()")
    call("mitra_go_offline", mitra.id, None)
    assert marks() == {}


def test_who_is_gone_is_marked_as_lost_and_who_went_is_not(call, rows_of, make_mitra, go_online, marks):
    swept, deactivated, went = (go_online(make_mitra(), age=1000) for _ in range(3))
    marks()
    rows_of("auto_offline", [swept.id], "2100-01-01T00:00:00Z")
    call("mitra_update", deactivated.id, '{"is_active": false}')
    call("mitra_go_offline", went.id, None)
    assert marks() == {swept.id: ("lost",), deactivated.id: ("lost",)}


@pytest.mark.parametrize("change, marked", [
    ("status = 'ended'", True),
    ("mitra_id = NULL, status = 'searching'", True),
    ("status = 'active'", False),
    ("expires_at = now() + interval '1 hour'", False),
])
def test_who_has_a_session_less_is_marked(database, make_mitra, make_session, go_online, marks, change, marked):
    mitra = go_online(make_mitra())
    make_session(mitra, status="pending_payment")
    marks()
    database.execute(f"UPDATE chat_sessions SET {change}")
    assert marks() == ({mitra.id: ("offers",)} if marked else {})
