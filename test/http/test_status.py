"""A mitra goes online and offline, beats, and asks where he stands."""

import re
import signal
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import process, tokens
from harness.api import problem_of, read_all

ONLINE, OFFLINE, HEARTBEAT = (f"/api/mitra/status/{verb}" for verb in ("online", "offline", "heartbeat"))
ROUTES = [("GET", "/api/mitra/status"), ("POST", ONLINE), ("POST", OFFLINE), ("POST", HEARTBEAT)]
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LONG_AGO = "2020-02-20T20:20:20.200Z"


@pytest.fixture
def logs(database):
    """logs(mitra): what was logged of him, oldest first, "online manual"."""
    return lambda mitra: [
        f"{row['status']} {row['reason']}"
        for row in database.rows(
            "SELECT status, reason FROM mitra_online_logs WHERE mitra_id = %s ORDER BY created_at, id", mitra.id
        )
    ]


@pytest.fixture
def post(mitrad):
    return lambda path, mitra: mitrad.post(path, token=mitra.token)


@pytest.fixture
def status(mitrad):
    return lambda mitra: mitrad.get("/api/mitra/status", token=mitra.token)


def test_going_online_answers_the_status_and_shows_it_in_the_mirror(make_mitra, post, mirror, logs):
    mitra = make_mitra()
    answer = post(ONLINE, mitra)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    stamp = answer.json["online_since"]
    assert ISO.fullmatch(stamp)
    assert answer.json == {
        "online": True,
        "online_since": stamp,
        "last_heartbeat_at": stamp,
        "active_sessions": 0,
        "max_sessions": 3,
        "heartbeat_interval_seconds": 30,
    }
    assert mirror.sismember("mitras:online", mitra.id)
    assert not mirror.sismember("mitras:deactivated", mitra.id)
    assert mirror.get(f"mitra:capacity:{mitra.id}") == "0"
    assert mirror.get(f"mitra:heartbeat:{mitra.id}") == stamp
    assert logs(mitra) == ["online manual"]


def test_going_online_again_changes_nothing_and_logs_nothing(make_mitra, post, logs):
    mitra = make_mitra()
    first = post(ONLINE, mitra)
    assert [post(ONLINE, mitra).json for _ in range(3)] == [first.json] * 3
    assert logs(mitra) == ["online manual"]


def test_many_phones_going_online_at_once_are_one_change(make_mitra, post, logs):
    mitra = make_mitra()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: post(ONLINE, mitra), range(48)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.json["online_since"] for answer in answers}) == 1
    assert logs(mitra) == ["online manual"]


def test_going_offline_takes_the_mitra_out_of_the_mirror(online_mitra, post, mirror, logs):
    mitra = online_mitra()
    answer = post(OFFLINE, mitra)
    assert answer.status == 200
    assert answer.json["online"] is False and answer.json["online_since"] is None
    assert ISO.fullmatch(answer.json["last_heartbeat_at"])
    assert not mirror.sismember("mitras:online", mitra.id)
    assert mirror.get(f"mitra:heartbeat:{mitra.id}") is None
    assert logs(mitra) == ["online manual", "offline manual"]


def test_going_offline_again_changes_nothing_and_logs_nothing(online_mitra, post, logs):
    mitra = online_mitra()
    first = post(OFFLINE, mitra)
    assert [post(OFFLINE, mitra).json for _ in range(3)] == [first.json] * 3
    assert logs(mitra) == ["online manual", "offline manual"]


def test_going_offline_without_ever_having_been_online_logs_nothing(make_mitra, post, logs):
    mitra = make_mitra()
    answer = post(OFFLINE, mitra)
    assert answer.status == 200 and answer.json["online"] is False
    assert answer.json["last_heartbeat_at"] is None
    assert logs(mitra) == []


def test_coming_back_online_begins_anew(online_mitra, post, status):
    mitra = online_mitra()
    before = status(mitra).json["online_since"]
    post(OFFLINE, mitra)
    assert post(ONLINE, mitra).json["online_since"] > before


def test_a_heartbeat_moves_the_mirrors_stamp_and_not_the_truths(online_mitra, post, mirror, database):
    mitra = online_mitra()
    truth = "SELECT last_heartbeat_at FROM mitra_online_status WHERE mitra_id = %s"
    before = database.value(truth, mitra.id)
    mirror.set(f"mitra:heartbeat:{mitra.id}", LONG_AGO)
    answer = post(HEARTBEAT, mitra)
    assert (answer.status, answer.json) == (200, {"online": True})
    assert ISO.fullmatch(mirror.get(f"mitra:heartbeat:{mitra.id}"))
    assert mirror.get(f"mitra:heartbeat:{mitra.id}") > LONG_AGO
    assert database.value(truth, mitra.id) == before


def test_a_thousand_heartbeats_cost_postgresql_no_statement(online_mitra, post, database):
    mitras = [online_mitra() for _ in range(4)]
    with database.statements() as ran, ThreadPoolExecutor(len(mitras)) as pool:
        answers = list(pool.map(lambda number: post(HEARTBEAT, mitras[number % 4]), range(1000)))
    assert all(answer.json == {"online": True} for answer in answers)
    assert ran.for_requests == 0, ran.calls


def test_each_of_many_heartbeats_that_come_at_once_gets_its_own_answer(mitrad_factory, mirror, online_mitra, make_mitra):
    """The worker finds them all when it goes on, so they share batches; there are more than one batch holds."""
    server = mitrad_factory(WORKERS=1)
    here, never, inactive = online_mitra(server), make_mitra(), online_mitra(server)
    mirror.sadd("mitras:deactivated", inactive.id)
    worker = server.children()["worker"][0]
    streams = []
    process.send(worker, signal.SIGSTOP)
    for mitra in (here, never, inactive) * 30:
        streams.append(server.public.connect())
        head = f"POST {HEARTBEAT} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAuthorization: Bearer {mitra.token}\r\n\r\n"
        streams[-1].sendall(head.encode())
    process.send(worker, signal.SIGCONT)
    for stream, expected in zip(streams, (b'{"online":true}', b'{"online":false}', b'"ACCOUNT_INACTIVE"') * 30):
        assert expected in read_all(stream)
        stream.close()


def test_the_heartbeat_of_one_who_is_offline_says_so_and_leaves_no_key(online_mitra, make_mitra, post, mirror):
    never, gone = make_mitra(), online_mitra()
    post(OFFLINE, gone)
    for mitra in (never, gone):
        answer = post(HEARTBEAT, mitra)
        assert (answer.status, answer.json) == (200, {"online": False})
        assert mirror.get(f"mitra:heartbeat:{mitra.id}") is None
        assert not mirror.sismember("mitras:online", mitra.id)


def test_a_heartbeat_heals_a_mirror_that_forgot_the_mitra(online_mitra, post, mirror, database):
    mitra = online_mitra()
    mirror.delete(f"mitra:heartbeat:{mitra.id}", f"mitra:capacity:{mitra.id}")
    mirror.srem("mitras:online", mitra.id)
    assert post(HEARTBEAT, mitra).json == {"online": True}
    assert mirror.sismember("mitras:online", mitra.id)
    assert mirror.get(f"mitra:capacity:{mitra.id}") == "0"
    with database.statements() as ran:
        assert post(HEARTBEAT, mitra).json == {"online": True}
    assert ran.for_requests == 0


@pytest.mark.parametrize("method, path", ROUTES)
def test_nobody_is_behind_the_token_of_an_unknown_mitra(mitrad, mirror, database, method, path):
    stranger = str(uuid.uuid4())
    answer = mitrad.request(method, path, token=tokens.mint("mitra", stranger))
    problem_of(answer, 401, "UNAUTHENTICATED")
    assert not mirror.keys(f"mitra:*:{stranger}")
    assert not database.rows("SELECT 1 FROM mitra_online_status WHERE mitra_id = %s", stranger)


@pytest.fixture
def deactivated(online_mitra, mitrad, operator_token):
    """A mitra whom an operator deactivated while he was online."""
    mitra = online_mitra()
    path = f"/internal/mitras/{mitra.id}"
    assert mitrad.internal.patch(path, token=operator_token, json={"is_active": False}).status == 200
    return mitra


def test_a_deactivated_mitra_cannot_beat_and_postgresql_is_not_asked(deactivated, post, database):
    with database.statements() as ran:
        for _ in range(10):
            problem_of(post(HEARTBEAT, deactivated), 403, "ACCOUNT_INACTIVE")
    assert ran.for_requests == 0, ran.calls


def test_a_deactivated_mitra_cannot_toggle(deactivated, post, logs):
    for path in (ONLINE, OFFLINE):
        problem_of(post(path, deactivated), 403, "ACCOUNT_INACTIVE")
    assert logs(deactivated) == ["online manual", "offline deactivated"]


def test_a_deactivated_mitra_may_read_that_he_is_offline(deactivated, status):
    answer = status(deactivated)
    assert answer.status == 200 and answer.json["online"] is False


@pytest.mark.parametrize("method, path", ROUTES)
def test_the_status_is_for_mitras_only(mitrad, operator_token, customer_token, method, path):
    for token in (operator_token, customer_token()):
        problem_of(mitrad.request(method, path, token=token), 403, "WRONG_USER_TYPE")
    problem_of(mitrad.request(method, path), 401, "UNAUTHENTICATED")


def test_the_last_heartbeat_comes_from_the_mirror(online_mitra, post, status, mirror, database):
    mitra = online_mitra()
    assert post(HEARTBEAT, mitra).json == {"online": True}
    heard = mirror.get(f"mitra:heartbeat:{mitra.id}")
    database.execute(
        "UPDATE mitra_online_status SET last_heartbeat_at = now() - interval '1 minute' WHERE mitra_id = %s", mitra.id
    )
    assert status(mitra).json["last_heartbeat_at"] == heard


@pytest.mark.parametrize("nonsense", ["", "yesterday", LONG_AGO, "9" * 5000, "'; DROP TABLE mitras; --", "é\x01"])
def test_a_corrupt_stamp_in_the_mirror_hides_no_heartbeat(online_mitra, status, mirror, nonsense):
    mitra = online_mitra()
    known = status(mitra).json["last_heartbeat_at"]
    mirror.set(f"mitra:heartbeat:{mitra.id}", nonsense)
    answer = status(mitra)
    assert answer.status == 200 and answer.json["last_heartbeat_at"] == known


def test_a_corrupt_stamp_that_is_no_text_at_all_hides_no_heartbeat(online_mitra, status, mirror):
    mitra = online_mitra()
    known = status(mitra).json["last_heartbeat_at"]
    for bad in (b"\xff\xfe", b"2026-01-01\x00T00:00:00.000Z"):
        mirror.set(f"mitra:heartbeat:{mitra.id}", bad)
        answer = status(mitra)
        assert answer.status == 200 and answer.json["last_heartbeat_at"] == known
    mirror.delete(f"mitra:heartbeat:{mitra.id}")
    mirror.lpush(f"mitra:heartbeat:{mitra.id}", "a list")
    answer = status(mitra)
    assert answer.status == 200 and answer.json["last_heartbeat_at"] == known


def test_the_status_counts_active_and_unpaid_sessions(online_mitra, make_session, status):
    mitra = online_mitra()
    for state in ("active", "pending_payment", "ended", "searching", "cancelled"):
        make_session(mitra, status=state)
    assert status(mitra).json["active_sessions"] == 2


def test_a_revoked_session_may_beat_but_not_go_online(make_mitra, mitrad, database):
    mitra = make_mitra()
    session = database.value(
        """INSERT INTO auth_sessions (user_type, user_id, refresh_token_hash, expires_at, revoked_at)
           VALUES ('mitra', %s, gen_random_uuid(), now() + interval '1 day', now()) RETURNING id""",
        mitra.id,
    )
    token = tokens.mint("mitra", mitra.id, session_id=str(session))
    problem_of(mitrad.post(ONLINE, token=token), 401, "UNAUTHENTICATED")
    assert mitrad.post(ONLINE, token=mitra.token).status == 200
    assert mitrad.post(HEARTBEAT, token=token).json == {"online": True}


def test_each_request_is_one_statement(make_mitra, post, status, database):
    mitra = make_mitra()
    for ask in (lambda: post(ONLINE, mitra), lambda: status(mitra), lambda: post(OFFLINE, mitra)):
        with database.statements() as ran:
            assert ask().status == 200
        assert ran.for_requests == 1, ran.calls
