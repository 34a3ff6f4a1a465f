"""Valkey away, in every way it can be: the same answers, only from PostgreSQL."""

import signal
import threading
import time

import pytest

from harness import people, ports, process
from harness.api import problem_of
from harness.mitrad import CALM
from harness.wait import wait_until

TIMEOUT_SECONDS = 2


class Refused:
    """Nobody listens."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        proxy.refuse()

    @staticmethod
    def end(proxy, valkey, mitrad):
        proxy.forward()


class BlackHole(Refused):
    """Connections are accepted, and nothing comes back."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        proxy.black_hole()

    @staticmethod
    def end(proxy, valkey, mitrad):
        # What was swallowed stays swallowed, as when a machine is gone; new connections lead to the next one.
        proxy.forward()


class Paused:
    """The machine hangs."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        valkey.pause()

    @staticmethod
    def end(proxy, valkey, mitrad):
        valkey.resume()


class Killed:
    """Valkey dies and comes back without its data."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        valkey.kill()

    @staticmethod
    def end(proxy, valkey, mitrad):
        valkey.start()


class Loading(Refused):
    """Valkey reads its dump."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        proxy.answer(b"-LOADING Valkey is loading the dataset in memory\r\n")


class MasterDown(Refused):
    """A replica that has lost its master and says so."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        proxy.answer(b"-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n")


class Babbling(Refused):
    """Something else answers on that port."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        proxy.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class Slow(Refused):
    """Each answer comes later than VALKEY_TIMEOUT_MS, and by far: a worker that looks up late takes what is there."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        proxy.slow(TIMEOUT_SECONDS)


class ReadOnly:
    """A failover left us with a replica: it can be read, and not written."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        with valkey.client() as client:
            client.replicaof("127.0.0.1", ports.free_port())

    @staticmethod
    def end(proxy, valkey, mitrad):
        with valkey.client() as client:
            client.replicaof("NO", "ONE")


class Emptied:
    """FLUSHDB, with nobody there to reseed: no connection is dropped, and nothing is an error."""

    @staticmethod
    def begin(proxy, valkey, mitrad):
        for sweeper in mitrad.children()["sweeper"]:
            process.send(sweeper, signal.SIGSTOP)
        with valkey.client() as client:
            client.flushdb()

    @staticmethod
    def end(proxy, valkey, mitrad):
        for sweeper in mitrad.children()["sweeper"]:
            process.send(sweeper, signal.SIGCONT)


OUTAGES = [Refused, BlackHole, Paused, Killed, Loading, MasterDown, Babbling, Slow, ReadOnly, Emptied]


@pytest.fixture
def proxy(proxy_factory, valkey):
    return proxy_factory(valkey)


@pytest.fixture
def start(mitrad_factory, valkey, proxy):
    """start(NAME=value, …): a calm instance that reaches Valkey through the proxy."""
    own = {"VALKEY_URL": valkey.url_through(proxy), "VALKEY_TIMEOUT_MS": TIMEOUT_SECONDS * 1000}
    return lambda arrangement=CALM, **settings: mitrad_factory(arrangement=arrangement, **{**own, **settings})


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_every_answer_is_the_same_through_an_outage_and_after_it(outage, start, world_of, valkey, proxy):
    mitrad = start()
    world = world_of(mitrad)
    world.forget_silent(valkey)
    assert world.try_everything() == {"valkey"}
    assert mitrad.metric("mitrad_valkey_fallbacks_total") == 0

    outage.begin(proxy, valkey, mitrad)
    sources = world.try_everything()
    assert sources == {"postgres"} or outage is ReadOnly
    assert world.sources(times=8) == {"postgres"}
    wait_until(lambda: mitrad.metric("mitrad_valkey_fallbacks_total") > 10, what="the fallbacks to be counted")
    # If Valkey lost its data then everyone is stamped anew, rightly.
    world.toggle(world.silent, "/api/mitra/status/offline")

    outage.end(proxy, valkey, mitrad)
    world.comes_back()
    assert world.try_everything() == {"valkey"}
    assert world.mirror_is_right()


def test_valkey_that_is_slow_but_in_time_is_used(start, world_of, valkey, proxy):
    mitrad = start(VALKEY_TIMEOUT_MS=5000)
    world = world_of(mitrad)
    world.forget_silent(valkey)
    proxy.slow(0.02)
    assert world.try_everything() == {"valkey"}


def test_a_failover_that_drops_connections_silently_costs_one_timeout(start, world_of, proxy):
    world = world_of(start())
    proxy.drop()
    world.sources(times=4)
    world.comes_back()


def test_connections_that_are_cut_are_made_again(start, world_of, proxy):
    world = world_of(start())
    for _ in range(5):
        proxy.cut()
        world.sources(times=2)
    world.comes_back()


def test_a_black_hole_costs_the_first_a_timeout_and_the_rest_nothing(start, world_of, proxy):
    timeout = 5.0
    world = world_of(start(WORKERS=1, VALKEY_TIMEOUT_MS=int(timeout * 1000)))
    mitra = world.online_mitra()
    proxy.black_hole()

    def took(request):
        began = time.monotonic()
        assert request() is not None
        return time.monotonic() - began

    assert took(lambda: world.read("availability")) < 2 * timeout
    rest = [took(request) for request in (lambda: world.read("availability"), lambda: world.beat(mitra)) * 20]
    assert max(rest) < timeout / 2


def test_all_who_wait_when_the_hole_opens_are_answered_after_one_timeout(start, world_of, proxy):
    timeout = 2.0
    world = world_of(start(WORKERS=1, VALKEY_TIMEOUT_MS=int(timeout * 1000)))
    mitra = world.online_mitra()
    proxy.black_hole()
    began = time.monotonic()
    answers = []
    waiting = [threading.Thread(target=lambda: answers.append(world.beat(mitra))) for _ in range(20)]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join()
    assert [answer.json for answer in answers] == [{"online": True}] * 20
    assert time.monotonic() - began < 2 * timeout


# What operators grep for

LINES = [
    "[heartbeat] valkey check failed, falling back to DB: ",
    "[isMitraReachable] valkey unavailable, falling back to DB: ",
    "[findAvailableMitras] valkey unavailable, falling back to Postgres: ",
]


def test_the_log_says_what_operators_search_for(start, world_of, proxy):
    mitrad = start()
    mitrad.wait_log(lambda line: line["message"] == "[valkey] subscribed to config:invalidate")
    seed = mitrad.wait_log("[valkey-mirror] seed: ")
    assert seed["message"] == "[valkey-mirror] seed: 0 online, 0 deactivated, 0 with active sessions"
    world = world_of(mitrad)
    mitra = world.online_mitra()
    proxy.refuse()
    world.beat(mitra)
    world.reachable(mitra)
    world.read("availability")
    world.toggle(mitra, "/api/mitra/status/offline")
    world.toggle(mitra, "/api/mitra/status/online")
    world.patch(f"mitras/{mitra.id}", is_active=False)
    writes = [f"[valkey-mirror] {what} {mitra.id} failed: " for what in ("setOffline", "setOnline", "setActive")]
    for beginning in LINES + writes:
        line = mitrad.wait_log(lambda line, wanted=beginning: line["message"].startswith(wanted))
        assert len(line["message"]) > len(beginning), "the reason is missing"
        assert line["severity"] in ("WARNING", "ERROR")


def test_the_sweepers_log_says_what_operators_search_for(mitrad_factory, valkey, proxy, world_of):
    mitrad = mitrad_factory(VALKEY_URL=valkey.url_through(proxy))
    world = world_of(mitrad)
    mitra = world.online_mitra()
    session = people.make_session(world.database, mitra)
    proxy.refuse()
    world.database.execute("UPDATE chat_sessions SET expires_at = now() - interval '1 hour' WHERE id = %s", session)
    for beginning in (
        "[auto-offline] valkey unavailable, skipping this tick: ",
        "[heartbeat-mirror] valkey unavailable, skipping: ",
        f"[valkey-mirror] setCapacity {mitra.id} failed: ",
    ):
        mitrad.wait_log(lambda line, wanted=beginning: line["message"].startswith(wanted))


# Who is heard; that nobody is swept is in test/mirror/test_gaps.py


def test_heartbeats_of_the_outage_keep_a_mitra_available(start, world_of, proxy, database):
    world = world_of(start())
    beating, silent = world.online_mitra(), world.online_mitra()
    proxy.refuse()
    world.beat(beating)
    database.execute("UPDATE mitra_online_status SET last_heartbeat_at = now() - interval '1 hour'")
    assert not world.reachable(beating) and not world.reachable(silent)
    assert world.beat(beating).json == {"online": True}
    assert world.reachable(beating) and not world.reachable(silent)
    just_now = "last_heartbeat_at > now() - interval '30 seconds'"
    assert database.value(f"SELECT {just_now} FROM mitra_online_status WHERE mitra_id = %s", beating.id)


def test_many_heartbeats_of_the_outage_share_statements(start, world_of, proxy, database):
    world = world_of(start(WORKERS=1, DATABASE_TIMEOUT_MS=60000))
    mitras = [world.online_mitra() for _ in range(20)]
    proxy.refuse()
    wait_until(lambda: world.sources() == {"postgres"}, what="the outage to be noticed")
    answers = []
    first, *others = [threading.Thread(target=lambda m=m: answers.append(world.beat(m).json)) for m in mitras]
    with database.statements() as ran:
        # One transaction holds a row, so that heartbeats gather behind the first statement.
        with database.holding("SELECT FROM mitra_online_status WHERE mitra_id = %s FOR UPDATE", mitras[0].id):
            first.start()
            wait_until(database.waiting, what="the first to wait")
            for thread in others:
                thread.start()
            wait_until(lambda: world.mitrad.metric("mitrad_http_in_flight") >= 20, what="all to have arrived")
        for thread in (first, *others):
            thread.join()
    assert answers == [{"online": True}] * 20
    assert ran.matching("mitra_beat") <= 3, ran.calls


def test_valkey_away_for_good_leaves_no_child_busy(start, world_of, proxy):
    """Reconnecting is not a loop that burns a core."""
    mitrad = start()
    world_of(mitrad)
    proxy.refuse()
    pids = [pid for kind in mitrad.children().values() for pid in kind]
    before, began = sum(process.cpu_seconds(pid) for pid in pids), time.monotonic()
    time.sleep(3)
    assert sum(process.cpu_seconds(pid) for pid in pids) - before < (time.monotonic() - began) * 0.3


def test_a_deactivation_during_an_outage_holds_once_valkey_is_back(start, world_of, valkey, proxy):
    world = world_of(start())
    mitra = world.online_mitra()
    proxy.refuse()
    world.patch(f"mitras/{mitra.id}", is_active=False)
    problem_of(world.beat(mitra), 403, "ACCOUNT_INACTIVE")
    proxy.forward()
    world.comes_back()
    problem_of(world.beat(mitra), 403, "ACCOUNT_INACTIVE")
    with valkey.client() as mirror:
        assert mirror.sismember("mitras:deactivated", mitra.id) and not mirror.sismember("mitras:online", mitra.id)


def test_a_scrape_is_no_fallback(start, proxy):
    """It does without what only the mirror knows, and asks PostgreSQL for nothing."""
    mitrad = start()
    proxy.refuse()
    wait_until(lambda: "mitrad_online_mitras" not in mitrad.internal.get("/metrics").text, what="the outage to be felt")
    scrapes = mitrad.metric("mitrad_http_requests_total")
    wait_until(lambda: mitrad.metric("mitrad_http_requests_total") >= scrapes + 10, what="more scrapes")
    assert mitrad.metric("mitrad_valkey_fallbacks_total") == 0
    assert not mitrad.messages("[metrics]")
