"""Events: fetched by number, waited for, and never lost between the two (architecture.md)."""

import signal
import time

import pytest

from harness import tokens
from harness.api import fields_of, problem_of
from harness.mitrad import CALM
from harness.wait import holds_for, wait_until

from .conftest import PATIENCE_SECONDS, Listener, Waiting

SOON_SECONDS = 15  # far below the wait of 25, far above what it takes


def numbers(events):
    return [event["seq"] for event in events]


# Fetching


def test_an_event_has_all_that_was_promised(instance, listener, emit):
    emitted = emit(listener)
    (event,) = listener.events(instance)
    assert event == emitted[0]
    assert event.keys() == {"id", "seq", "type", "session_id", "at", "data"}
    assert (event["seq"], event["type"]) == (1, "status_changed")


def test_pages_follow_each_other_without_a_gap(instance, listener, emit):
    emit(listener, 25)
    after, seen = 0, []
    for _ in range(4):
        answer = listener.ask(instance, after=after, limit=10).json
        seen += numbers(answer["events"])
        after = answer["next_after"]
        assert answer["missed"] is False
    assert seen == list(range(1, 26)) and after == 25


def test_a_mitra_and_a_customer_of_one_id_have_events_of_their_own(instance, emit):
    customer, mitra = Listener("customer"), Listener("mitra")
    mitra.id = customer.id
    mitra.token = tokens.mint("mitra", customer.id)
    emit(customer, 3)
    assert len(customer.events(instance)) == 3 and mitra.events(instance) == []


def test_who_has_no_events_yet_gets_an_empty_list(instance, listener):
    assert listener.ask(instance).json == {"events": [], "next_after": 0, "missed": False}


def test_who_was_away_for_longer_than_events_are_kept_is_told(instance, listener, emit, database):
    emit(listener, 5)
    database.execute("DELETE FROM user_events WHERE seq <= 3")
    answer = listener.ask(instance, after=1).json
    assert numbers(answer["events"]) == [4, 5] and answer["missed"] is True
    assert listener.ask(instance, after=3).json["missed"] is False
    database.execute("DELETE FROM user_events")
    assert listener.ask(instance, after=3).json == {"events": [], "next_after": 5, "missed": True}


def test_a_number_that_was_never_given_is_told_at_once(instance, listener, emit):
    emit(listener, 2)
    answer = listener.ask(instance, after=9, wait=25, timeout=SOON_SECONDS).json
    assert answer == {"events": [], "next_after": 2, "missed": True}


@pytest.mark.parametrize(
    "query, field",
    [
        ("after=-1", "after"),
        ("after=x", "after"),
        ("after=9223372036854775808", "after"),
        ("after=1e3", "after"),
        ("wait=26", "wait"),
        ("wait=-1", "wait"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
    ],
)
def test_what_is_no_number_in_range_is_refused(instance, listener, query, field):
    answer = instance.get(f"{listener.path}?{query}", token=listener.token)
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == [field]


def test_events_need_their_owners_token(instance, listener):
    problem_of(instance.get("/api/client/events"), 401, "UNAUTHENTICATED")
    problem_of(instance.get("/api/mitra/events", token=listener.token), 403, "WRONG_USER_TYPE")


# Waiting


def test_who_waits_is_answered_when_an_event_comes(instance, listener, emit, waiting):
    poll = waiting(instance, listener, known=1)
    emitted = emit(listener)
    answer = poll.result(SOON_SECONDS)
    assert answer.json == {"events": emitted, "next_after": 1, "missed": False}


def test_what_was_there_before_is_answered_at_once(instance, listener, emit):
    emit(listener, publish=False)
    assert numbers(listener.events(instance, wait=25, timeout=SOON_SECONDS)) == [1]


def test_who_waits_in_vain_gets_an_empty_list_when_the_time_is_up(instance, listener, waiting):
    poll = waiting(instance, listener, wait=2)
    assert poll.result().json == {"events": [], "next_after": 0, "missed": False}
    assert 1.9 <= poll.seconds < 20  # the event loop counts in whole milliseconds of its own clock


def test_an_event_wakes_those_whom_it_concerns_and_nobody_else(instance, emit, waiting):
    one, other = Listener(), Listener("mitra")
    of_one = [waiting(instance, one), waiting(instance, one)]
    of_other = waiting(instance, other, known=3)
    emit(one)
    assert [numbers(poll.result(SOON_SECONDS).json["events"]) for poll in of_one] == [[1], [1]]
    assert not of_other.done()
    emit(other)
    of_other.result(SOON_SECONDS)


def test_a_follower_sees_every_event_once_and_in_order_however_they_come(mitrad_factory, emit, pool, valkey):
    """Several instances, events from many sides at once, some of them never published."""
    instances = [mitrad_factory(arrangement=CALM, WORKERS=2) for _ in range(2)]
    followed = [Listener(kind) for kind in ("customer", "mitra", "customer")]
    total = 120

    def follow(number):
        listener, seen, after = followed[number % 3], [], 0
        deadline = time.monotonic() + 100
        while after < total and time.monotonic() < deadline:
            answer = listener.ask(instances[number % 2], after=after, wait=2).json
            seen += numbers(answer["events"])
            after = answer["next_after"]
            assert answer["missed"] is False
        return seen

    followers = [pool.submit(follow, number) for number in range(6)]
    emitters = [
        pool.submit(lambda n=number: [emit(followed[n % 3], publish=k % 7 != 3) for k in range(total // 4)])
        for number in range(12)
    ]
    for emitter in emitters:
        emitter.result()
    for follower in followers:
        assert follower.result() == list(range(1, total + 1))


def test_one_user_cannot_wait_in_more_than_eight_requests(instance, listener, waiting):
    polls = [waiting(instance, listener, known=1)]
    polls += [waiting(instance, listener) for _ in range(6)]
    polls.append(waiting(instance, listener, known=8))
    polls.append(waiting(instance, listener))
    assert polls[0].result(SOON_SECONDS).json["events"] == []
    assert not any(poll.done() for poll in polls[1:])


def test_a_worker_lets_only_so_many_wait(mitrad_factory, waiting):
    instance = mitrad_factory(arrangement=CALM, WORKERS=1, EVENT_WAITS_PER_WORKER=3)
    for number in range(3):
        waiting(instance, Listener(), known=number + 1)
    problem_of(Listener().ask(instance, wait=25), 503, "OVERLOADED")
    assert Listener().ask(instance).status == 200


def test_who_leaves_while_waiting_is_forgotten_when_the_wait_ends(instance, listener):
    request = f"GET {listener.path}?wait=2 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {listener.token}\r\n\r\n"
    for _ in range(5):
        with instance.public.connect() as stream:
            stream.sendall(request.encode())
            time.sleep(0.05)
    wait_until(lambda: instance.metric("mitrad_event_waits") == 0, what="those who left to be forgotten")
    assert listener.ask(instance, wait=1).status == 200


def test_a_stop_answers_all_who_wait_at_once(patient, waiting):
    polls = [waiting(patient, Listener()) for _ in range(20)]
    wait_until(lambda: patient.metric("mitrad_event_waits") == 20, what="all to wait")
    began = time.monotonic()
    patient.signal(signal.SIGTERM)
    for poll in polls:
        answer = poll.result(SOON_SECONDS)
        assert (answer.status, answer.json["events"]) == (200, [])
        assert answer.headers["connection"] == "close"
    patient.wait_exit()
    assert time.monotonic() - began < PATIENCE_SECONDS / 2


# Without Valkey, without PostgreSQL


def test_without_valkey_events_still_come_soon(instance, emit, waiting, valkey):
    valkey.stop()
    polls = [(listener, waiting(instance, listener)) for listener in [Listener() for _ in range(3)]]
    wait_until(lambda: instance.metric("mitrad_event_waits") == 3, what="all to wait")
    for listener, _ in polls:
        emit(listener, publish=False)
    for _, poll in polls:
        assert numbers(poll.result(SOON_SECONDS).json["events"]) == [1]


def test_without_valkey_all_who_wait_share_one_statement_every_two_seconds(instance, database, waiting, valkey):
    valkey.stop()
    polls = [waiting(instance, Listener()) for _ in range(30)]
    wait_until(lambda: instance.metric("mitrad_event_waits") == 30, what="all to wait")
    began = time.monotonic()
    with database.statements() as ran:
        holds_for(lambda: not any(poll.done() for poll in polls), 6, "waiting")
    assert 1 <= ran.matching("events_news") <= (time.monotonic() - began) / 2 + 2
    assert ran.matching("events_list") == 0


def test_who_waits_hears_again_when_valkey_is_back(instance, listener, emit, waiting, valkey):
    poll = waiting(instance, listener, known=1)
    before = len(instance.log_lines())
    valkey.restart()
    instance.wait_log("[valkey] subscribed to config:invalidate", after=before)
    emit(listener)
    assert numbers(poll.result(SOON_SECONDS).json["events"]) == [1]


def test_what_was_published_while_valkey_was_away_is_found_when_it_is_back(instance, listener, emit, waiting, valkey):
    poll = waiting(instance, listener, known=1)
    valkey.stop()
    emit(listener, publish=False)
    valkey.start()
    assert numbers(poll.result(SOON_SECONDS).json["events"]) == [1]


def test_a_black_hole_is_noticed_and_the_truth_asked(mitrad_factory, listener, emit, waiting, valkey, proxy_factory):
    proxy = proxy_factory(valkey)
    instance = mitrad_factory(arrangement=CALM, WORKERS=1, VALKEY_URL=valkey.url_through(proxy), VALKEY_TIMEOUT_MS=1000)
    proxy.drop()
    proxy.black_hole()
    poll = waiting(instance, listener)
    wait_until(lambda: instance.metric("mitrad_event_waits") == 1, what="it to wait")
    emit(listener, publish=False)
    assert numbers(poll.result(SOON_SECONDS).json["events"]) == [1]


def test_without_postgresql_it_is_said(instance, listener, postgres):
    postgres.stop()
    problem_of(listener.ask(instance), 503, "DATABASE_UNAVAILABLE")
    poll = Waiting(lambda: listener.ask(instance, wait=1))
    problem_of(poll.result(), 503, "DATABASE_UNAVAILABLE")
