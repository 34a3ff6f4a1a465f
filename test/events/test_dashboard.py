"""The dashboard's numbers, and the stream that everybody in the control center may follow."""

import contextlib
import json
import signal
import socket
import time

import pytest

from harness import tokens
from harness.api import problem_of
from harness.mitrad import CALM
from harness.wait import holds_for, wait_until

from .conftest import PATIENCE_SECONDS

PATH = "/internal/dashboard"
STREAM = PATH + "/stream"


class Follower:
    """A reader of the stream, on a socket of its own, who takes only what he is asked to."""

    def __init__(self, instance, token, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect((instance.internal.host, instance.internal.port))
        self.socket.sendall(f"GET {STREAM} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        self.received = b""

    def frames(self, count):
        """The first `count` frames so far, read as they come."""
        while len(self._frames()) < count:
            piece = self.socket.recv(65536)
            assert piece, f"the stream ended: {self.received[-200:]!r}"
            self.received += piece
        return [json.loads(frame) for frame in self._frames()]

    def read_to_end(self):
        with contextlib.suppress(ConnectionResetError):
            while piece := self.socket.recv(65536):
                self.received += piece
        return self.received

    def close(self):
        self.socket.close()

    def _frames(self):
        return [line[6:] for line in self.received.split(b"\n") if line.startswith(b"data: ") and line.endswith(b"}")]


@pytest.fixture
def follow(operator_token):
    made = []

    def follow(instance, **more):
        made.append(Follower(instance, operator_token, **more))
        return made[-1]

    yield follow
    for follower in made:
        follower.close()


@pytest.fixture
def dashboard(operator_token):
    def dashboard(instance):
        answer = instance.internal.get(PATH, token=operator_token)
        assert answer.status == 200, answer
        return answer.json

    return dashboard


# The numbers


def matched(database, make_session, mitra, waited_seconds, ago="1 minute"):
    session = make_session(mitra, status="ended")
    database.execute(
        """UPDATE chat_sessions SET created_at = now() - %s::interval - make_interval(secs => %s),
           matched_at = now() - %s::interval, ended_at = now() WHERE id = %s""",
        *(ago, waited_seconds, ago, session),
    )


def test_the_dashboard_knows_how_long_matching_takes(instance, dashboard, database, make_mitra, make_session):
    mitra = make_mitra()
    assert dashboard(instance)["matching_seconds"] == {"count": 0, "median": None, "p90": None}
    for seconds in range(1, 12):
        matched(database, make_session, mitra, seconds)
    matched(database, make_session, mitra, 5000, ago="2 hours")
    assert dashboard(instance)["matching_seconds"] == {"count": 11, "median": 6, "p90": 10}


def test_the_dashboard_counts_the_sessions_of_today(instance, dashboard, database, make_session):
    for status in ("ended", "ended", "cancelled", "unmatched", "unmatched", "unmatched"):
        database.execute("UPDATE chat_sessions SET ended_at = now() WHERE id = %s", make_session(status=status))
    yesterday = make_session(status="unmatched")
    database.execute(
        "UPDATE chat_sessions SET ended_at = date_trunc('day', now(), 'UTC') - interval '1 second' WHERE id = %s", yesterday
    )
    shown = dashboard(instance)
    assert shown["unmatched_today"] == 3
    assert shown["sessions"] == {
        **{"pending_payment": 0, "searching": 0, "active": 0},
        **{"ended_today": 2, "cancelled_today": 1, "unmatched_today": 3},
    }


def test_the_dashboard_shows_how_busy_the_mitras_are(instance, dashboard, online_mitra, make_mitra, make_session):
    busy = [online_mitra(instance) for _ in range(3)]
    make_mitra()
    for mitra, load in zip(busy, (0, 2, 2)):
        for _ in range(load):
            make_session(mitra)
    assert dashboard(instance)["load"] == [{"sessions": 0, "mitras": 1}, {"sessions": 2, "mitras": 2}]


def test_the_dashboard_says_the_same_without_valkey(instance, dashboard, valkey, online_mitra):
    online_mitra(instance)
    before = dashboard(instance)
    valkey.stop()
    after = dashboard(instance)
    assert (before.pop("source"), after.pop("source")) == ("valkey", "postgres")
    before.pop("as_of"), after.pop("as_of")
    assert before == after


# The estimate of a wait


def test_who_waits_is_told_his_place_and_for_how_long(instance, database, make_mitra, make_session, make_customer):
    mitra, customers = make_mitra(), [make_customer() for _ in range(3)]
    ids = [
        instance.post("/api/client/sessions", token=customer.token, json={"duration_minutes": 30}).json["id"]
        for customer in customers
    ]

    def shown(number):
        return instance.get(f"/api/client/sessions/{ids[number]}", token=customers[number].token).json

    for seconds in (10, 20, 30, 40):
        matched(database, make_session, mitra, seconds)
    assert [shown(number)["position"] for number in range(3)] == [1, 2, 3]
    assert shown(0)["estimated_wait_seconds"] is None
    matched(database, make_session, mitra, 25)
    assert shown(2)["estimated_wait_seconds"] == 25
    instance.post(f"/api/client/sessions/{ids[0]}/cancel", token=customers[0].token)
    assert shown(2)["position"] == 2
    assert (shown(0)["position"], shown(0)["estimated_wait_seconds"]) == (None, None)


# The stream


def test_the_stream_says_every_second_what_the_dashboard_says(instance, follow, dashboard, online_mitra):
    follower = follow(instance)
    first = follower.frames(3)
    assert first[0].keys() == dashboard(instance).keys() and first[0]["online_mitras"] == 0
    head = follower.received.split(b"\r\n\r\n")[0].lower()
    assert b"200 ok" in head and b"content-type: text/event-stream" in head
    online_mitra(instance)
    wait_until(lambda: follower.frames(1)[-1]["online_mitras"] == 1 or not follower.frames(len(follower._frames()) + 1))


def test_a_hundred_readers_cost_one_computation_a_second(mitrad_factory, follow, database):
    """In the whole cluster: the readers are spread over two instances of two workers each."""
    cluster = [mitrad_factory(arrangement=CALM, WORKERS=2) for _ in range(2)]
    followers = [follow(cluster[number % 2]) for number in range(100)]
    for follower in followers:
        follower.frames(2)
    began = time.monotonic()
    with database.statements() as ran:
        for follower in followers:
            follower.frames(len(follower._frames()) + 4)
    took = time.monotonic() - began
    assert 1 <= ran.matching("mitrad.dashboard") <= took / 0.9 + 2
    assert sum(instance.metric("mitrad_dashboard_readers") for instance in cluster) == 100


def test_nobody_listens_nothing_is_computed(instance, follow, database):
    follower = follow(instance)
    follower.frames(2)
    follower.close()
    wait_until(lambda: instance.metric("mitrad_dashboard_readers") == 0, what="the reader to be forgotten")
    with database.statements() as ran:
        holds_for(instance.running, 3)
    assert ran.matching("mitrad.dashboard") == 0


@pytest.mark.deadline(200)
def test_a_reader_who_does_not_read_is_dropped_and_others_are_not(instance, follow):
    slow = follow(instance, receive_buffer=2304)
    good = follow(instance)
    wait_until(lambda: instance.metric("mitrad_dashboard_readers") == 2, what="both to follow")
    for _ in range(120):
        good.frames(len(good._frames()) + 1)
        if instance.metric("mitrad_dashboard_readers") == 1:
            break
    assert instance.metric("mitrad_dashboard_readers") == 1
    assert not slow.read_to_end().endswith(b"0\r\n\r\n")


def test_the_stream_goes_on_without_valkey_and_after_it(instance, follow, valkey):
    follower = follow(instance)
    follower.frames(2)
    valkey.stop()
    wait_until(lambda: follower.frames(len(follower._frames()) + 1)[-1]["source"] == "postgres", what="the truth's numbers")
    valkey.start()
    wait_until(lambda: follower.frames(len(follower._frames()) + 1)[-1]["source"] == "valkey", what="the mirror's numbers")


def test_the_stream_survives_an_outage_of_postgresql(instance, follow, postgres):
    follower = follow(instance)
    follower.frames(1)
    postgres.stop()

    def told():
        follower.received += follower.socket.recv(65536)
        return b": the numbers cannot be had" in follower.received

    wait_until(told, what="a comment")
    count = len(follower._frames())
    postgres.start()
    assert follower.frames(count + 2)


def test_a_stop_ends_all_streams_in_order(patient, follow):
    followers = [follow(patient) for _ in range(5)]
    for follower in followers:
        follower.frames(1)
    began = time.monotonic()
    patient.signal(signal.SIGTERM)
    for follower in followers:
        assert follower.read_to_end().endswith(b"0\r\n\r\n")
    assert patient.wait_exit() == 0
    assert time.monotonic() - began < PATIENCE_SECONDS / 2


def test_the_stream_needs_an_operator(instance):
    problem_of(instance.internal.get(STREAM), 401, "UNAUTHENTICATED")
    problem_of(instance.internal.get(STREAM, token=tokens.mint("customer")), 403, "WRONG_USER_TYPE")
    answer = instance.internal.request("HEAD", STREAM, token=tokens.mint("operator"))
    assert answer.status == 200 and answer.headers["content-type"] == "text/event-stream"


def test_who_asks_at_the_same_time_shares_a_computation(instance, dashboard, database, pool):
    dashboard(instance)
    with database.statements() as ran:
        with database.holding("LOCK TABLE mitra_online_status IN ACCESS EXCLUSIVE MODE"):
            answers = [pool.submit(dashboard, instance) for _ in range(30)]
            wait_until(database.waiting, what="the first to wait")
            wait_until(lambda: instance.metric("mitrad_http_in_flight") >= 30, what="all to have arrived")
        assert len([answer.result() for answer in answers]) == 30
    assert 1 <= ran.matching("mitrad.dashboard") <= 2, "one in flight, and one for all who came meanwhile"
