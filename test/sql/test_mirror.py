"""What the sweeper reads for the mirror and writes back from it."""

import threading
import uuid

import pytest


def test_the_pages_hold_every_mitra_once_by_id(rows_of, make_mitra):
    ids = sorted(make_mitra().id for _ in range(7))
    for size in (1, 3, 7, 8):
        seen, after = [], None
        while page := rows_of("mirror_page", after, size):
            assert len(page) <= size
            seen += [row["mitra_id"] for row in page]
            after = seen[-1]
        assert seen == ids


def test_the_lowest_id_of_all_is_on_the_first_page_only(database, rows_of):
    zero = str(uuid.UUID(int=0))
    database.execute("INSERT INTO mitras (id, phone) VALUES (%s, '+1')", zero)
    assert [row["mitra_id"] for row in rows_of("mirror_page", None, 10)] == [zero]
    assert rows_of("mirror_page", zero, 10) == []


def test_the_state_of_one_who_never_went_online(rows_of, make_mitra):
    mitra = make_mitra()
    assert rows_of("mirror_states", [mitra.id, str(uuid.uuid4())]) == [{
        "mitra_id": mitra.id, "version": 1, "online": False, "active": True, "sessions": 0,
        "heartbeat": None, "online_since": None}]


def test_the_state_says_load_heartbeat_and_since_when(call, make_mitra, make_session, go_online):
    mitra = go_online(make_mitra(), age=10)
    make_session(mitra, status="pending_payment")
    row = call("mirror_states", [mitra.id])
    assert (row["online"], row["sessions"]) == (True, 1)
    assert row["heartbeat"] == row["online_since"] < call("mitra_beat", [mitra.id])["heartbeat"]


def test_the_load_is_counted_in_its_own_index(rival, make_mitra, make_session):
    mitra = make_mitra()
    make_session(mitra)
    reader = rival()
    reader.execute("SET LOCAL enable_seqscan = off")
    plan = reader.execute("EXPLAIN SELECT * FROM mitrad.mirror_state WHERE mitra_id = %s", mitra.id)
    assert any("chat_sessions_load" in row["QUERY PLAN"] for row in plan)


# ---------------------------------------------------------------- heartbeats


def stored(database, mitra):
    return database.value(
        """SELECT to_char(last_heartbeat_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') FROM mitra_online_status
           WHERE mitra_id = %s""", mitra.id)


def test_stored_heartbeats_move_forward_and_never_back(database, call, make_mitra):
    one, other, third = make_mitra(), make_mitra(), make_mitra()
    ids = [one.id, other.id, third.id]
    assert call("heartbeats_store", ids, ["2026-01-02", "2026-01-02", None])["stored"] == 2
    moved = call("heartbeats_store", ids, ["2026-01-01T12:00:00.000Z", "2026-01-03T12:00:00.000Z", None])
    assert moved["stored"] == 1
    assert stored(database, one) == "2026-01-01 17:00"  # midnight of the 2nd at the server, in Jakarta
    assert stored(database, other) == "2026-01-03 12:00"
    assert stored(database, third) is None


def test_the_latest_of_several_stamps_for_one_mitra_counts(database, call, make_mitra):
    mitra = make_mitra()
    stamps = ["2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-02T00:00:00Z"]
    assert call("heartbeats_store", [mitra.id] * 3, stamps)["stored"] == 1
    assert stored(database, mitra) == "2026-01-03 00:00"


def test_a_stamp_for_one_who_is_no_mitra_is_ignored(call, make_mitra):
    ids = [str(uuid.uuid4()), make_mitra().id]
    assert call("heartbeats_store", ids, ["2026-01-01", "2026-01-01"])["stored"] == 1
    assert call("heartbeats_store", [], [])["stored"] == 0


def test_a_stamp_from_the_future_counts_as_now(database, call, make_mitra):
    mitra = make_mitra()
    call("heartbeats_store", [mitra.id], ["2099-01-01"])
    assert database.value("SELECT last_heartbeat_at <= now() FROM mitra_online_status") is True


def test_a_stored_heartbeat_takes_nobody_online_and_counts_no_version(call, make_mitra, version_of):
    mitra = make_mitra()
    call("heartbeats_store", [mitra.id], ["2026-01-01"])
    state = call("mirror_states", [mitra.id])
    assert (state["online"], state["version"]) == (False, 1)


# ---------------------------------------------------------------- auto-offline


def test_the_silent_go_offline_with_a_log_row_and_the_others_stay(database, rows_of, make_mitra, go_online):
    silent, fresh, offline = go_online(make_mitra(), age=300), go_online(make_mitra()), make_mitra()
    ids = [silent.id, fresh.id, offline.id, str(uuid.uuid4())]
    cutoff = database.value("SELECT (now() - interval '90 seconds')::text")
    got = rows_of("auto_offline", ids, cutoff)
    assert [(row["mitra_id"], row["online"], row["version"]) for row in got] == [(silent.id, False, 3)]
    logged = database.rows("SELECT mitra_id, status, reason FROM mitra_online_logs WHERE reason = 'auto_offline'")
    assert logged == [{"mitra_id": silent.id, "status": "offline", "reason": "auto_offline"}]
    assert rows_of("auto_offline", ids, cutoff) == []


@pytest.mark.parametrize("column", ["last_heartbeat_at", "online_since"])
def test_who_beat_or_came_online_after_the_cutoff_stays(database, rows_of, make_mitra, go_online, column):
    mitra = go_online(make_mitra(), age=300)
    database.execute(f"UPDATE mitra_online_status SET {column} = now()")
    assert rows_of("auto_offline", [mitra.id], database.value("SELECT (now() - interval '1 minute')::text")) == []


def test_one_who_never_beat_is_silent_since_the_beginning(database, rows_of, make_mitra, go_online):
    mitra = go_online(make_mitra(), age=300)
    database.execute("UPDATE mitra_online_status SET last_heartbeat_at = NULL")
    assert len(rows_of("auto_offline", [mitra.id], database.value("SELECT now()::text"))) == 1


def test_one_who_is_just_coming_back_online_is_not_swept(database, rival, rows_of, make_mitra, go_online):
    """The sweep decided on an old heartbeat; then the mitra toggles, and is not yet committed when the sweep strikes."""
    mitra = go_online(make_mitra(), age=300)
    cutoff = database.value("SELECT (now() - interval '90 seconds')::text")
    app = rival()
    app.call("mitra_go_offline", mitra.id)
    app.call("mitra_go_online", mitra.id, None)
    assert rows_of("auto_offline", [mitra.id], cutoff) == []  # and it does not wait
    app.commit()
    assert rows_of("auto_offline", [mitra.id], cutoff) == []
    assert database.value("SELECT is_online FROM mitra_online_status") is True


def test_going_online_after_an_uncommitted_sweep_is_online_with_a_later_version(
    database, rival, make_mitra, go_online
):
    mitra = go_online(make_mitra(), age=300)
    sweeper, app = rival(), rival()
    swept = sweeper.call("auto_offline", [mitra.id], database.value("SELECT now()::text"))
    app.begin_call("mitra_go_online", mitra.id, None)
    sweeper.commit()
    row = app.result()[0]
    assert row["online"] is True and row["version"] == swept[0]["version"] + 1


def test_sweeps_heartbeats_and_beats_of_the_same_mitras_never_deadlock(database, rival, make_mitra, go_online):
    """In opposite orders, a good many times, from three connections."""
    ids = [go_online(make_mitra(), age=300).id for _ in range(50)]
    cutoff = database.value("SELECT (now() - interval '90 seconds')::text")
    calls = [
        ("heartbeats_store", ids, ["now"] * len(ids)),
        ("mitra_beat", ids[::-1]),
        ("auto_offline", ids[::-1], cutoff),
        ("heartbeats_store", ids[::-1], ["now"] * len(ids)),
    ]
    failures = []

    def repeat(work):
        connection = rival()
        try:
            for _ in range(40):
                connection.call(*work)
                connection.commit()
        except Exception as error:  # pylint: disable=broad-except
            failures.append(error)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_the_last_page_costs_what_the_first_does(database):
    database.execute(
        "INSERT INTO mitras (phone, display_name) SELECT '+62811' || lpad(i::text, 7, '0'), 'm' FROM generate_series(1, 20000) i"
    )
    database.execute("INSERT INTO mitra_online_status (mitra_id, is_online) SELECT id, false FROM mitras")
    database.execute("ANALYZE")
    late = database.value("SELECT id FROM mitras ORDER BY id DESC OFFSET 200 LIMIT 1")

    def blocks(after):
        plan = database.value(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM mitrad.mirror_page(%s::uuid, 100)", after
        )[0]["Plan"]
        assert plan["Actual Rows"] == 100
        return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

    blocks(None)
    assert blocks(late) < 1.5 * blocks(None)
