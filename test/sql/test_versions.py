"""mitras.version counts every change that the mirror must learn of, whoever makes it."""

import psycopg2
import pytest

from harness.sources import read

# Each is an edit by hand of one online mitra who has one active session, one ended session and one search; with the
# number of steps that it must count.  {m}, {active}, {ended}, {search}: ids; {other}: a mitra who never went online.
EDITS = {
    "deactivating": ("UPDATE mitras SET is_active = false WHERE id = '{m}'", 1),
    "renaming": ("UPDATE mitras SET display_name = 'x' WHERE id = '{m}'", 0),
    "writing is_active as it is": ("UPDATE mitras SET is_active = true WHERE id = '{m}'", 0),
    "taking offline": ("UPDATE mitra_online_status SET is_online = false WHERE mitra_id = '{m}'", 1),
    "writing is_online as it is": ("UPDATE mitra_online_status SET is_online = true WHERE mitra_id = '{m}'", 0),
    "deleting the status": ("DELETE FROM mitra_online_status WHERE mitra_id = '{m}'", 1),
    "giving the status away": ("UPDATE mitra_online_status SET mitra_id = '{other}' WHERE mitra_id = '{m}'", 1),
    "a heartbeat": ("UPDATE mitra_online_status SET last_heartbeat_at = now() WHERE mitra_id = '{m}'", 0),
    "ending a chat": ("UPDATE chat_sessions SET status = 'ended' WHERE id = '{active}'", 1),
    "active becomes unpaid": ("UPDATE chat_sessions SET status = 'pending_payment' WHERE id = '{active}'", 0),
    "reopening a chat": ("UPDATE chat_sessions SET status = 'active' WHERE id = '{ended}'", 1),
    "moving a chat away": ("UPDATE chat_sessions SET mitra_id = '{other}' WHERE id = '{active}'", 1),
    "moving an ended chat": ("UPDATE chat_sessions SET mitra_id = '{other}' WHERE id = '{ended}'", 0),
    "taking the mitra off": ("UPDATE chat_sessions SET mitra_id = NULL WHERE id = '{active}'", 1),
    "matching a search": ("UPDATE chat_sessions SET status = 'active', mitra_id = '{m}' WHERE id = '{search}'", 1),
    "deleting a chat": ("DELETE FROM chat_sessions WHERE id = '{active}'", 1),
    "deleting an ended chat": ("DELETE FROM chat_sessions WHERE id = '{ended}'", 0),
    "changing a chat's times": ("UPDATE chat_sessions SET expires_at = now() WHERE id = '{active}'", 0),
    "deleting a customer": (
        "DELETE FROM customers c USING chat_sessions s WHERE c.id = s.customer_id AND s.id = '{active}'", 1),
    "setting it back": ("UPDATE mitras SET version = 0 WHERE id = '{m}'", 1),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_by_hand_counts_if_the_mirror_shows_it(
    database, make_mitra, make_session, go_online, version_of, edit
):
    mitra, other = go_online(make_mitra()), make_mitra()
    names = {
        "m": mitra.id,
        "other": other.id,
        "active": make_session(mitra),
        "ended": make_session(mitra, status="ended"),
        "search": make_session(status="searching"),
    }
    before = version_of(mitra)
    sql, steps = EDITS[edit]
    assert database.execute(sql.format(**names)) == 1
    assert version_of(mitra) == before + steps


def test_a_chat_that_moves_counts_for_both_mitras(database, make_mitra, make_session, version_of):
    one, other = make_mitra(), make_mitra()
    session = make_session(one)
    before = version_of(one), version_of(other)
    database.execute("UPDATE chat_sessions SET mitra_id = %s WHERE id = %s", other.id, session)
    assert (version_of(one), version_of(other)) == (before[0] + 1, before[1] + 1)


def test_a_status_that_is_inserted_online_counts_and_offline_does_not(database, make_mitra, version_of):
    online, offline = make_mitra(), make_mitra()
    insert = "INSERT INTO mitra_online_status (mitra_id, is_online) VALUES (%s, %s)"
    database.execute(insert, online.id, True)
    database.execute(insert, offline.id, False)
    assert (version_of(online), version_of(offline)) == (2, 1)


@pytest.mark.parametrize("status, counts", [
    ("active", True), ("pending_payment", True), ("searching", False), ("ended", False)])
def test_a_new_chat_counts_if_it_is_load(make_mitra, make_session, version_of, status, counts):
    mitra = make_mitra()
    make_session(mitra, status=status)
    assert version_of(mitra) == 1 + counts


def test_a_mitra_without_chats_can_be_deleted_while_online(database, make_mitra, go_online):
    mitra = go_online(make_mitra())
    assert database.execute("DELETE FROM mitras WHERE id = %s", mitra.id) == 1


def test_going_online_by_hand_gets_a_beginning_of_its_own(database, make_mitra, go_online):
    mitra = go_online(make_mitra(), age=3600)
    since = "SELECT online_since FROM mitra_online_status WHERE mitra_id = %s"
    database.execute("UPDATE mitra_online_status SET is_online = false WHERE mitra_id = %s", mitra.id)
    assert database.value(since, mitra.id) is None
    database.execute("UPDATE mitra_online_status SET is_online = true WHERE mitra_id = %s", mitra.id)
    recent = "SELECT now() - online_since < '10 minutes' FROM mitra_online_status WHERE mitra_id = %s"
    assert database.value(recent, mitra.id) is True


@pytest.mark.parametrize("time", ["now() + interval '1 year'", "'infinity'"])
def test_a_time_in_the_future_becomes_now(database, make_mitra, go_online, time):
    mitra = go_online(make_mitra())

    database.execute(
        f"UPDATE mitra_online_status SET last_heartbeat_at = {time}, online_since = {time} WHERE mitra_id = %s", mitra.id
    )

    row = database.one(
        """SELECT last_heartbeat_at <= now() AND last_heartbeat_at > now() - interval '1 minute' AS heard,
                  online_since <= now() AND online_since > now() - interval '1 minute' AS since
           FROM mitra_online_status WHERE mitra_id = %s""",
        mitra.id,
    )
    assert row == {"heard": True, "since": True}


def test_heartbeats_are_hot_updates(rival, make_mitra, go_online):
    mitras = [go_online(make_mitra(), age=30) for _ in range(200)]
    sweeper = rival()
    sweeper.call("heartbeats_store", [m.id for m in mitras], ["now"] * len(mitras))
    counted = sweeper.execute(
        """SELECT pg_stat_get_xact_tuples_updated(c) AS updated, pg_stat_get_xact_tuples_hot_updated(c) AS hot
           FROM (SELECT 'mitra_online_status'::regclass AS c) t"""
    )[0]
    assert counted["updated"] == 200
    # The 800 versions that going online and ageing left behind may fill a page here and there.
    assert counted["hot"] >= 190


def test_concurrent_changes_end_with_the_load_that_belongs_to_the_highest_version(
    rival, call, make_mitra, make_session
):
    """The second waits for the first, and counts what the first has done."""
    mitra = make_mitra()
    sessions = [make_session(mitra), make_session(mitra)]
    one, other = rival(), rival()
    one.execute("UPDATE chat_sessions SET status = 'ended' WHERE id = %s", sessions[0])
    first = one.call("mirror_states", [mitra.id])[0]
    other.begin_call("mitra_go_online", mitra.id, None)
    one.commit()
    second = other.result()[0]
    assert (first["sessions"], second["sessions"]) == (1, 1)
    assert second["version"] == first["version"] + 1
    state = call("mirror_states", [mitra.id])
    assert (state["version"], state["sessions"]) == (second["version"], 1)


LAST = 2**53 - 1


@pytest.mark.parametrize("version", [LAST + 1, 2**63 - 1])
def test_a_version_that_nobody_could_count_on_from_is_refused(database, make_mitra, version):
    mitra = make_mitra()
    with pytest.raises(psycopg2.errors.CheckViolation):
        database.execute("UPDATE mitras SET version = %s WHERE id = %s", version, mitra.id)


def test_at_the_last_version_everything_still_works(database, make_mitra, make_session, go_online, version_of):
    mitra = make_mitra()
    database.execute("UPDATE mitras SET version = %s WHERE id = %s", LAST, mitra.id)
    go_online(mitra)
    make_session(mitra)
    database.execute("UPDATE mitras SET is_active = false WHERE id = %s", mitra.id)
    assert version_of(mitra) == LAST


def test_versions_that_were_set_too_high_before_there_was_a_limit_are_mended(database, make_mitra, version_of):
    high, usual = make_mitra(), make_mitra()
    database.execute("ALTER TABLE mitras DROP CONSTRAINT mitras_version_check")
    database.execute("UPDATE mitras SET version = %s WHERE id = %s", 2**63 - 1, high.id)
    before = version_of(usual)
    database.execute(read("schema/010_versions.sql"))
    assert (version_of(high), version_of(usual)) == (LAST, before)
