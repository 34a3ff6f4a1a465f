"""Going online and offline, the status, and the heartbeat that stands in for Valkey's."""

import json
import re
import uuid

import pytest

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def logs(database, mitra):
    return database.rows(
        "SELECT status, reason FROM mitra_online_logs WHERE mitra_id = %s ORDER BY created_at", mitra.id
    )


def auth_session(database, mitra, revoked=False):
    return database.value(
        """INSERT INTO auth_sessions (user_type, user_id, refresh_token_hash, expires_at, revoked_at)
           VALUES ('mitra', %s, gen_random_uuid(), now() + interval '1 day', CASE WHEN %s THEN now() END)
           RETURNING id""",
        *(mitra.id, revoked),
    )


def test_going_online_answers_the_status_and_the_mirror_state_and_logs_it(database, call, make_mitra):
    mitra = make_mitra()
    row = call("mitra_go_online", mitra.id, None)
    answer = json.loads(row["answer"])
    assert row["problem"] is None and row["errors"] is None
    assert answer.pop("online_since") == answer.pop("last_heartbeat_at") == row["heartbeat"]
    assert answer == {"online": True, "active_sessions": 0, "max_sessions": 3, "heartbeat_interval_seconds": 30}
    assert ISO.fullmatch(row["heartbeat"])
    assert (row["mitra_id"], row["version"]) == (mitra.id, 2)
    assert (row["online"], row["active"], row["sessions"]) == (True, True, 0)
    assert logs(database, mitra) == [{"status": "online", "reason": "manual"}]


def test_going_online_again_changes_nothing_and_answers_the_same(database, call, make_mitra):
    mitra = make_mitra()
    first = call("mitra_go_online", mitra.id, None)
    assert call("mitra_go_online", mitra.id, None) == first
    assert len(logs(database, mitra)) == 1


def test_going_offline_is_logged_once_however_often_it_is_asked(database, call, make_mitra):
    mitra = make_mitra()
    call("mitra_go_online", mitra.id, None)
    first = call("mitra_go_offline", mitra.id)
    assert first["online"] is False and first["version"] == 3
    assert json.loads(first["answer"])["online_since"] is None
    assert call("mitra_go_offline", mitra.id) == first
    assert logs(database, mitra) == [
        {"status": "online", "reason": "manual"},
        {"status": "offline", "reason": "manual"},
    ]


def test_the_log_has_the_order_in_which_toggles_came_about_not_that_in_which_they_began(
        database, call, rival, make_mitra):
    mitra, late = make_mitra(), rival()
    late.execute("SELECT now()")  # its transaction begins here, and its turn comes after the other
    call("mitra_go_online", mitra.id, None)
    late.call("mitra_go_offline", mitra.id)
    late.commit()
    assert [line["status"] for line in logs(database, mitra)] == ["online", "offline"]


def test_going_offline_without_ever_having_been_online_logs_nothing(database, call, make_mitra):
    mitra = make_mitra()
    row = call("mitra_go_offline", mitra.id)
    assert row["problem"] is None and json.loads(row["answer"])["online"] is False
    assert logs(database, mitra) == []


@pytest.mark.parametrize("function, more", [("mitra_go_online", (None,)), ("mitra_go_offline", ())])
def test_a_deactivated_mitra_toggles_nothing(database, call, make_mitra, function, more):
    mitra = make_mitra(is_active=False)
    assert call(function, mitra.id, *more)["problem"] == "ACCOUNT_INACTIVE"
    assert logs(database, mitra) == []


@pytest.mark.parametrize(
    "function, more", [("mitra_go_online", (None,)), ("mitra_go_offline", ()), ("mitra_status", (None,))]
)
def test_a_mitra_who_does_not_exist_is_not_authenticated(call, function, more):
    assert call(function, str(uuid.uuid4()), *more)["problem"] == "UNAUTHENTICATED"


def test_a_revoked_session_cannot_go_online_but_an_open_or_unknown_one_can(database, call, make_mitra):
    mitra = make_mitra()
    revoked = call("mitra_go_online", mitra.id, auth_session(database, mitra, revoked=True))
    assert revoked["problem"] == "UNAUTHENTICATED"
    assert logs(database, mitra) == []
    assert call("mitra_go_online", mitra.id, auth_session(database, mitra))["problem"] is None
    assert call("mitra_go_online", mitra.id, str(uuid.uuid4()))["problem"] is None


def test_a_deactivated_mitra_hears_of_that_rather_than_of_the_revoked_session(database, call, make_mitra):
    mitra = make_mitra(is_active=False)
    session = auth_session(database, mitra, revoked=True)
    assert call("mitra_go_online", mitra.id, session)["problem"] == "ACCOUNT_INACTIVE"


@pytest.mark.parametrize("mirror, wins", [
    ("2099-01-01T00:00:00.000Z", True),
    ("2020-01-01T00:00:00.000Z", False),
    ("not a time", False),
    ("zzzz-99-99T99:99:99.999Z", False),
    ("", False),
    (None, False),
])
def test_the_status_tells_the_later_of_the_two_heartbeats(call, make_mitra, mirror, wins):
    mitra = make_mitra()
    truth = call("mitra_go_online", mitra.id, None)["heartbeat"]
    row = call("mitra_status", mitra.id, mirror)
    expected = mirror if wins else truth
    assert row["heartbeat"] == json.loads(row["answer"])["last_heartbeat_at"] == expected


def test_the_status_of_one_who_never_beat_has_no_heartbeat(call, make_mitra):
    row = call("mitra_status", make_mitra().id, None)
    assert row["heartbeat"] is None
    assert json.loads(row["answer"])["last_heartbeat_at"] is None


def test_the_load_in_the_status_is_active_and_unpaid_sessions(database, call, make_mitra, make_session):
    mitra = make_mitra()
    for status in ("active", "pending_payment", "searching", "ended", "cancelled", "unmatched"):
        make_session(mitra, status=status)
    database.execute("UPDATE app_config SET value = '7' WHERE key = 'max_customers_per_mitra'")
    row = call("mitra_status", mitra.id, None)
    answer = json.loads(row["answer"])
    assert row["sessions"] == answer["active_sessions"] == 2
    assert answer["max_sessions"] == 7


def test_a_beat_answers_one_row_for_each_distinct_id(database, rows_of, make_mitra, go_online):
    online, offline, unknown = go_online(make_mitra(), age=60), make_mitra(), str(uuid.uuid4())
    inactive = go_online(make_mitra(), age=60)
    database.execute("UPDATE mitras SET is_active = false WHERE id = %s", inactive.id)

    ids = [online.id, offline.id, unknown, inactive.id, online.id, None]
    got = {row["mitra_id"]: row for row in rows_of("mitra_beat", ids)}
    assert set(got) == {online.id, offline.id, unknown, inactive.id}
    assert [(got[i]["known"], got[i]["online"], got[i]["active"]) for i in ids[:4]] == [
        (True, True, True), (True, False, True), (False, False, False), (True, True, False)]

    age = "SELECT now() - last_heartbeat_at < '30 seconds' FROM mitra_online_status WHERE mitra_id = %s"
    assert database.value(age, online.id) is True
    assert database.value(age, inactive.id) is False
    assert database.value(age, offline.id) is None


def test_a_beat_leaves_the_version_and_never_moves_a_stamp_back(
    database, call, make_mitra, go_online, version_of
):
    mitra = go_online(make_mitra(), age=-45)
    before = version_of(mitra)
    ahead = call("mitra_status", mitra.id, None)["heartbeat"]
    row = call("mitra_beat", [mitra.id])
    assert row["heartbeat"] == ahead
    assert row["version"] == version_of(mitra) == before


def test_going_online_waits_for_a_deactivation_and_is_then_refused(rival, make_mitra, database):
    mitra = make_mitra()
    operator, app = rival(), rival()
    operator.call("mitra_update", mitra.id, '{"is_active": false}')
    app.begin_call("mitra_go_online", mitra.id, None)
    operator.commit()
    assert app.result()[0]["problem"] == "ACCOUNT_INACTIVE"
    assert logs(database, mitra) == []


def test_a_deactivation_waits_for_going_online_and_then_takes_the_mitra_offline(rival, make_mitra, database):
    mitra = make_mitra()
    operator, app = rival(), rival()
    app.call("mitra_go_online", mitra.id, None)
    operator.begin_call("mitra_update", mitra.id, '{"is_active": false}')
    app.commit()
    row = operator.result()[0]
    assert (row["online"], row["active"]) == (False, False)
    assert logs(database, mitra) == [
        {"status": "online", "reason": "manual"},
        {"status": "offline", "reason": "deactivated"},
    ]


def test_two_who_go_online_at_once_log_it_once(rival, make_mitra, database):
    mitra = make_mitra()
    one, other = rival(), rival()
    first = one.call("mitra_go_online", mitra.id, None)
    other.begin_call("mitra_go_online", mitra.id, None)
    one.commit()
    assert other.result() == first
    assert len(logs(database, mitra)) == 1
