"""Events are numbered without a gap, whoever emits at the same time, and forgotten after their time."""

import uuid
from concurrent.futures import ThreadPoolExecutor

EMIT = """SELECT count(*) FROM mitrad.events_emit(ARRAY(
    SELECT ('mitra', id, 'status_changed', NULL, NULL)::mitrad.event FROM unnest(%s::uuid[]) id))"""


def test_numbers_have_no_gap_though_many_emit_at_once_to_the_same_users_in_any_order(database):
    users = [str(uuid.uuid4()) for _ in range(20)]

    def emit(round_number):
        mine = users if round_number % 2 else users[::-1]
        connection = database.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(EMIT, (mine + mine,))
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(emit, range(40)))
    rows = database.rows(
        """SELECT c.last_seq, count(e.seq), min(e.seq), max(e.seq) FROM user_event_counters c
           JOIN user_events e USING (user_type, user_id) GROUP BY c.user_id, c.last_seq""")
    assert [tuple(row.values()) for row in rows] == [(80, 80, 1, 80)] * 20


def test_an_emission_that_is_rolled_back_leaves_no_gap(database, rival):
    user = str(uuid.uuid4())
    failed = rival()
    failed.execute(EMIT, [user])
    failed.connection.rollback()
    database.execute(EMIT, [user])
    assert database.value("SELECT seq FROM user_events WHERE user_id = %s", user) == 1


def test_old_events_are_forgotten_and_the_numbers_go_on(database, call):
    user = str(uuid.uuid4())
    database.execute(EMIT, [user, user])
    database.execute("UPDATE user_events SET at = now() - interval '8 days'")
    database.execute(EMIT, [user])
    assert call("events_prune")["pruned"] == 2
    assert call("events_prune")["pruned"] == 0
    assert database.value("SELECT seq FROM user_events WHERE user_id = %s", user) == 3


def test_who_is_swept_or_deactivated_is_told(database, call, rows_of, make_mitra, go_online):
    swept, deactivated = go_online(make_mitra(), age=1000), go_online(make_mitra())
    rows_of("auto_offline", [swept.id], "2100-01-01T00:00:00Z")
    call("mitra_update", deactivated.id, '{"is_active": false}')
    call("mitra_update", deactivated.id, '{"is_active": false}')
    told = {row["user_id"]: row["data"] for row in database.rows("SELECT user_id, data FROM user_events")}
    assert told == {
        swept.id: {"online": False, "reason": "auto_offline"},
        deactivated.id: {"online": False, "reason": "deactivated"},
    }
    assert database.value("SELECT count(*) FROM user_events") == 2
