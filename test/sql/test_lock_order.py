"""
What takes many rows at once meets whoever else does so in one order: nobody waits in a ring.  A wait that PostgreSQL's
"skip locked" makes all the same, if a row changes hands while it looks, cannot be brought about; what it would lead to can.
"""

import psycopg2
import pytest

BATCHES = ["sessions_lost", "sessions_settle", "sessions_match"]
CHANGE = '{"goodbye_seconds": 5}'


@pytest.mark.parametrize("batch", BATCHES)
def test_no_batch_begins_while_the_configuration_changes(database, rival, batch):
    database.execute("ALTER FUNCTION mitrad.config_hold() SET lock_timeout = '1min'")
    changing, working = rival(), rival()
    changing.call("config_patch", CHANGE, None)
    working.begin_call(batch)
    changing.commit()
    working.result()


def test_no_batch_waits_for_long_if_somebody_leaves_a_change_of_the_configuration_open(rival):
    changing, working = rival(), rival()
    changing.execute("UPDATE app_config SET value = '5' WHERE key = 'goodbye_seconds'")
    with pytest.raises(psycopg2.errors.LockNotAvailable):
        working.call("sessions_match")


@pytest.mark.parametrize("batch", BATCHES)
def test_the_configuration_does_not_change_under_a_batch_but_batches_work_side_by_side(rival, batch):
    working, changing = rival(), rival()
    working.call(batch)
    for other in BATCHES:
        at_the_same_time = rival()
        at_the_same_time.call(other)
        at_the_same_time.commit()
    changing.begin_call("config_patch", CHANGE, None)
    working.commit()
    changing.result()


def test_a_mitras_first_event_is_awaited_in_the_order_of_all(database, rival, make_mitra):
    low, high = sorted((make_mitra().id, make_mitra().id))
    telling, searching = rival(), rival()
    telling.call("mitra_events_lock", [low])
    telling.commit()
    telling.call("mitra_events_lock", [low])
    searching.begin_call("mitra_events_lock", [high, low])
    # Who holds the first and wants the second is not in the way of who waits for the first.
    telling.call("mitra_events_lock", [high])
    telling.commit()
    searching.result()


def test_locking_the_events_of_a_newcomer_locks_the_others_too_and_counts_nothing(database, rival, make_mitra):
    old, new = make_mitra().id, make_mitra().id
    locking, telling = rival(), rival()
    told = "{" + f'"(mitra,{old},status_changed,,)"' + "}"
    telling.execute("SELECT * FROM mitrad.events_emit(%s::mitrad.event[])", told)
    telling.commit()
    locking.call("mitra_events_lock", [old, new])
    telling.begin_call("mitra_events_lock", [old])
    locking.commit()
    telling.result()
    counts = {row["user_id"]: row["last_seq"] for row in database.rows("SELECT user_id, last_seq FROM user_event_counters")}
    assert counts == {old: 1, new: 0}


def test_who_looks_for_orphans_holds_no_mark_while_a_session_may_keep_him_waiting(
    database, rival, call, make_mitra, make_session, go_online
):
    mitra = go_online(make_mitra())
    make_session(mitra)
    database.execute("DELETE FROM matching_marks")
    call("mitra_update", mitra.id, '{"is_active": false}')
    deciding, looking = rival(), rival()
    deciding.execute("LOCK TABLE chat_sessions IN ACCESS EXCLUSIVE MODE")
    looking.begin_call("sessions_lost")
    assert len(deciding.execute("SELECT mitra_id FROM matching_marks FOR UPDATE NOWAIT")) == 1
    deciding.commit()
    looking.result()
    assert database.value("SELECT orphaned_at IS NOT NULL FROM chat_sessions")


def test_the_matcher_has_all_of_its_sessions_before_it_waits_for_a_mitras_events(
    database, rival, make_mitra, make_session, go_online
):
    mitra = go_online(make_mitra())
    for _ in range(53):
        make_session(None, status="searching")
    telling, matching, looking = rival(), rival(), rival()
    telling.call("mitra_events_lock", [mitra.id])
    began = database.value("SELECT clock_timestamp()")
    matching.begin_call("sessions_match")
    waiting = "SELECT id FROM chat_sessions WHERE status = 'searching' AND next_wave_at <= now()"
    assert looking.execute(f"{waiting} FOR UPDATE SKIP LOCKED") == []
    looking.commit()
    telling.commit()
    matching.result()
    sooner = "SELECT count(*) FROM chat_sessions WHERE status = 'searching' AND next_wave_at < %s + interval '1 second'"
    assert database.value(sooner, began) == 0, "whoever was not considered is put off"


def test_a_newcomer_is_offered_a_session_that_was_held_when_he_came(
    database, rival, rows_of, make_mitra, make_session, go_online
):
    session = make_session(None, status="searching")
    rows_of("sessions_match")
    mitra = go_online(make_mitra())
    deciding = rival()
    deciding.execute("SELECT FROM chat_sessions FOR UPDATE")
    began = database.value("SELECT clock_timestamp()")
    assert rows_of("sessions_match") == []
    deciding.commit()
    later = "SELECT offers_at >= %s + interval '200 ms' FROM matching_marks WHERE mitra_id = %s"
    assert database.value(later, began, mitra.id), "he is looked at again, and a little later"
    database.execute("UPDATE matching_marks SET offers_at = now()")
    rows_of("sessions_match")
    assert database.value("SELECT session_id FROM chat_request_notifications WHERE mitra_id = %s", mitra.id) == session


def test_who_comes_while_the_matcher_looks_at_an_older_mark_of_his_keeps_the_new_one(
    database, rival, rows_of, make_mitra, make_session, go_online
):
    session = make_session(None, status="searching")
    rows_of("sessions_match")
    mitra = go_online(make_mitra())
    database.execute("UPDATE mitra_online_status SET is_online = false")
    coming, matching = rival(), rival()
    coming.call("mitra_go_online", mitra.id, None)
    # The matcher has seen him offline, and waits for the marks.
    coming.execute("LOCK TABLE matching_marks IN EXCLUSIVE MODE")
    matching.begin_call("sessions_match")
    coming.commit()
    matching.result()
    rows_of("sessions_match")
    assert database.value("SELECT session_id FROM chat_request_notifications WHERE mitra_id = %s", mitra.id) == session


def test_a_newcomers_mark_that_somebody_holds_gives_the_matcher_nothing_to_do(
    database, rival, rows_of, make_mitra, make_session, go_online
):
    for _ in range(51):
        make_session(None, status="searching")
    go_online(make_mitra())
    database.execute("UPDATE chat_sessions SET next_wave_at = now() + interval '1 hour'")
    changing = rival()
    changing.execute("SELECT FROM matching_marks FOR UPDATE")
    assert rows_of("sessions_match") == [], "or the sweeper would look again at once, until he lets go"
    sooner = "SELECT count(*) FROM chat_sessions WHERE next_wave_at < now() + interval '50 minutes'"
    assert database.value(sooner) == 0, "nobody's wave is put off, or forward"


def test_what_ends_many_sessions_takes_the_marks_of_their_mitras_by_id(
    database, rival, make_mitra, make_session, go_online
):
    low, high = sorted((go_online(make_mitra()) for _ in range(2)), key=lambda mitra: mitra.id)
    for mitra in (high, low):
        make_session(mitra)
    database.execute("UPDATE chat_sessions SET expires_at = '2020-01-01'")
    looking, ending = rival(), rival()
    looking.execute("SELECT FROM matching_marks WHERE mitra_id = %s FOR UPDATE", low.id)
    ending.begin_call("sessions_settle")
    # Who holds the first and wants the second is not in the way of who waits for the first.
    looking.execute("SELECT FROM matching_marks WHERE mitra_id = %s FOR UPDATE", high.id)
    looking.commit()
    ending.result()
    assert database.value("SELECT count(*) FROM chat_sessions WHERE status = 'ended'") == 2
