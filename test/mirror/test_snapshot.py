"""The beacon's snapshot: one recompute a period in the whole cluster, and soon true after a change."""

import threading
import time

from harness.at_once import Ask, ask_at_once
from harness.mitrad import CALM
from harness.wait import wait_until

BEACON = "/public/bestie-availability"
LIFE_SECONDS = 10  # of a snapshot


def recomputes(mirror):
    """Since the server's start: each asks for the size of both sets once."""
    return mirror.keys.info("commandstats").get("cmdstat_scard", {"calls": 0})["calls"] // 2


def ends_at(mirror):
    """When the snapshot that is stored will be gone; negative if there is none."""
    return mirror.keys.execute_command("PEXPIRETIME", "availability:snapshot") / 1000


class Pollers:
    """Many clients that ask for the beacon without a pause."""

    def __init__(self, instances, count):
        self.counts, self.bad, self.asked = set(), [], 0
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._poll, args=(instances[i % len(instances)],)) for i in range(count)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _poll(self, instance):
        while not self._stop.is_set():
            answer = instance.get(BEACON)
            self.asked += 1
            if answer.status == 200:
                self.counts.add(answer.json["count"])
            else:
                self.bad.append(answer)


def test_however_many_poll_it_is_recomputed_once_a_period(mirror, mitrad_factory, online_mitra):
    instances = [mitrad_factory(arrangement=CALM) for _ in range(2)]
    for _ in range(3):
        online_mitra(instances[0])
    wait_until(lambda: mirror.keys.get("mirror:generation"), what="the seed")

    for _ in range(3):
        mirror.keys.delete("availability:snapshot")
        before, began = recomputes(mirror), time.monotonic()
        with Pollers(instances, 12) as pollers:
            wait_until(lambda: pollers.asked > 300, what="a few hundred polls")
        periods = 1 + (time.monotonic() - began) // LIFE_SECONDS
        assert 1 <= recomputes(mirror) - before <= periods
        assert pollers.counts == {3} and not pollers.bad


def test_under_churn_it_is_recomputed_a_few_times_a_second(mirror, mitrad_factory, online_mitra):
    instance = mitrad_factory(arrangement=CALM)
    mitra = online_mitra(instance)
    before, began = recomputes(mirror), time.monotonic()

    with Pollers([instance], 6) as pollers:
        while time.monotonic() - began < 3:
            for path in ("offline", "online"):
                assert instance.post(f"/api/mitra/status/{path}", token=mitra.token).status == 200

    took = time.monotonic() - began
    assert recomputes(mirror) - before <= 4 * took + 3
    assert pollers.counts <= {0, 1} and not pollers.bad


def test_a_change_is_seen_within_a_moment(mirror, mitrad_factory, online_mitra):
    instance = mitrad_factory(arrangement=CALM)
    assert instance.get(BEACON).json["count"] == 0
    mitras = []

    for count in range(1, 5):
        mitras.append(online_mitra(instance))
        wait_until(lambda: instance.get(BEACON).json["count"] == count, seconds=LIFE_SECONDS - 2, what="the beacon")
    for mitra in mitras:
        instance.post("/api/mitra/status/offline", token=mitra.token)
    wait_until(lambda: instance.get(BEACON).json["count"] == 0, seconds=LIFE_SECONDS - 2, what="the beacon")


def test_a_snapshot_lives_for_ten_seconds_and_the_lock_is_given_back(mirror, mitrad_factory):
    instance = mitrad_factory(arrangement=CALM)

    asked = time.time()
    answer = instance.get(BEACON).text

    ends = wait_until(lambda: max(0, ends_at(mirror)), what="its store, which nobody waited for")
    stored = time.time()
    assert mirror.keys.get("availability:snapshot") == answer
    assert asked + LIFE_SECONDS - 0.01 < ends < stored + LIFE_SECONDS + 0.01
    assert not mirror.keys.exists("mirror:snapshot:lock")


def test_a_recompute_that_a_change_overtook_does_not_live_long(mirror, valkey, proxy_factory, mitrad_factory):
    """Read before the change, stored after it: the change is forgotten for a moment only."""
    proxy = proxy_factory(valkey)
    instance = mitrad_factory(arrangement=CALM, VALKEY_URL=valkey.url_through(proxy), VALKEY_TIMEOUT_MS=5000)
    proxy.slow(0.2)
    poll = threading.Thread(target=instance.get, args=(BEACON,))
    poll.start()
    wait_until(lambda: mirror.keys.exists("mirror:snapshot:lock"), what="a recompute under way")

    with mirror.keys.monitor() as monitor:
        mirror.keys.incr("mirror:changes")
        commands = (told["command"].split() for told in monitor.listen())
        stored = next(words for words in commands if words[:2] == ["SET", "availability:snapshot"])
    assert stored[-2:] == ["PX", "250"]
    poll.join()


def test_a_holder_of_the_lock_who_died_costs_a_second(mirror, mitrad_factory):
    instance = mitrad_factory(arrangement=CALM)
    mirror.keys.delete("availability:snapshot")
    mirror.keys.set("mirror:snapshot:lock", "somebody who is dead", px=60000)

    began = time.monotonic()
    assert instance.get(BEACON).json["count"] == 0
    assert 0.9 < time.monotonic() - began < 20, "the lock is there for a minute"
    wait_until(lambda: mirror.keys.exists("availability:snapshot"), what="its store, which nobody waited for")


def test_however_many_operators_look_the_mirror_is_searched_once_at_a_time(
    mirror, valkey, proxy_factory, mitrad_factory, online_mitra, operator_token
):
    proxy = proxy_factory(valkey)
    instance = mitrad_factory(
        arrangement=CALM, WORKERS=1, VALKEY_URL=valkey.url_through(proxy), VALKEY_TIMEOUT_MS=5000
    )
    mitra = online_mitra(instance)
    before = recomputes(mirror)
    proxy.slow(0.8)
    looks = [Ask(instance.internal, "GET", f"/internal/{path}", operator_token) for path in ("availability", "dashboard") * 10]
    answers = [answer.json for answer in ask_at_once(looks)]

    assert recomputes(mirror) - before <= 4, "one in flight, and one for all who came meanwhile"
    lists = [answer["mitras"] for answer in answers if "mitras" in answer]
    assert len(lists) == 10 and all([found["id"] for found in mitras] == [mitra.id] for mitras in lists)
    assert all(answer["source"] == "valkey" for answer in answers)
