"""Auto-offline: who is silent for stale_after_seconds goes offline, and nobody else."""

import contextlib
import signal
import threading
import time

import pytest

from harness import process
from harness.wait import holds_for, wait_until

LONG_AGO = 600


@pytest.fixture
def silent(mirror, make_mitra):
    """silent(): a mitra who went online long ago and was not heard of since."""

    def make():
        mitra = make_mitra()
        mirror.put_online(mitra, heard_ago=LONG_AGO)
        return mitra

    return make


def sweeping(sweeper, **more):
    return sweeper(**{"MITRA_AUTO_OFFLINE_SWEEP_SECONDS": 1, **more})


# Who takes mitras offline waits for it; all else goes on.
NOBODY_GOES_OFFLINE = "LOCK TABLE mitra_online_logs IN SHARE MODE"


@contextlib.contextmanager
def in_the_middle_of_a_sweep(sweeper, mirror, mitra):
    """The instance that sweeps; the truth has the mitra offline, and the sweeper does not know it before the block ends."""
    with mirror.database.holding(NOBODY_GOES_OFFLINE):
        instance = sweeping(sweeper)
        wait_until(mirror.database.waiting, what="the sweep to wait for the lock")
        (pid,) = instance.children()["sweeper"]
        process.send(pid, signal.SIGSTOP)
    try:
        wait_until(lambda: not mirror.is_online(mitra), what="the flip")
        yield instance
    finally:
        process.send(pid, signal.SIGCONT)


def test_who_is_silent_goes_offline_everywhere_with_a_log_row(mirror, listening, silent, sweeper):
    mitra = silent()

    sweeping(sweeper)

    wait_until(lambda: not mirror.is_online(mitra), what="the sweep")
    wait_until(mirror.equal, what="the mirror to follow")
    assert mirror.heartbeat(mitra) is None
    logs = mirror.database.rows("SELECT status, reason FROM mitra_online_logs WHERE mitra_id = %s", mitra.id)
    assert logs == [{"status": "offline", "reason": "auto_offline"}]


def test_who_beats_stays_online_though_postgresql_has_not_heard_of_it(mirror, listening, silent, sweeper, set_limit):
    set_limit(stale_after_seconds=400)
    beating, witness = silent(), silent()
    mirror.reseed()
    mirror.beat(beating, seconds_ago=300)

    sweeping(sweeper)

    wait_until(lambda: not mirror.is_online(witness), what="a sweep")
    assert mirror.is_online(beating)


def test_who_went_online_just_now_or_was_heard_by_postgresql_stays_online(
    mirror, listening, make_mitra, silent, sweeper
):
    new, heard, witness = make_mitra(), make_mitra(), silent()
    mirror.put_online(new, heard_ago=LONG_AGO, since_ago=1)
    mirror.put_online(heard, heard_ago=1, since_ago=LONG_AGO)
    mirror.reseed()
    for mitra in (new, heard):
        mirror.beat(mitra, seconds_ago=LONG_AGO)

    sweeping(sweeper)

    wait_until(lambda: not mirror.is_online(witness), what="a sweep")
    assert mirror.is_online(new) and mirror.is_online(heard)


def test_a_heartbeat_from_the_future_becomes_one_of_now(mirror, iso, listening, silent, sweeper):
    mitra = silent()
    mirror.reseed()
    mirror.beat(mitra, seconds_ago=-3600)

    sweeping(sweeper)

    wait_until(lambda: mirror.heartbeat(mitra) < iso(-60), what="a believable heartbeat")
    assert mirror.is_online(mitra)


def test_nothing_is_swept_while_nobody_listens(mirror, silent, sweeper):
    mitra = silent()
    instance = sweeping(sweeper)
    mirror.keys.delete("mirror:alive")
    mirror.beat(mitra, seconds_ago=LONG_AGO)

    instance.wait_log("[auto-offline] skipping this tick: nobody listens")

    assert mirror.is_online(mitra)


def test_nothing_is_swept_without_valkey_and_it_says_so(mirror, valkey, listening, silent, sweeper):
    mitra = silent()
    mirror.reseed()
    mirror.beat(mitra)
    instance = sweeping(sweeper)
    mirror.beat(mitra)

    valkey.stop()

    instance.wait_log("[auto-offline] valkey unavailable, skipping this tick: ")
    holds_for(lambda: mirror.is_online(mitra), 2.5, "online")


def test_the_brake_holds_one_tick_and_no_second_one(mirror, listening, silent, sweeper):
    mitras = [silent() for _ in range(20)]

    with mirror.database.holding(NOBODY_GOES_OFFLINE):
        instance = sweeping(sweeper, MITRA_AUTO_OFFLINE_SWEEP_SECONDS=3, DATABASE_TIMEOUT_MS=60000)
        line = instance.wait_log("[auto-offline] 20 of 20 online mitras are silent")
        assert line["severity"] == "CRITICAL"
        ended = r'mitrad_sweep_last_success_timestamp_seconds\{sweep="auto_offline"\}'
        wait_until(lambda: instance.metric(ended) > 0, what="the end of a tick that took nobody")
        assert all(mirror.is_online(mitra) for mitra in mitras)
    wait_until(lambda: not any(mirror.is_online(mitra) for mitra in mitras), what="the second tick")
    assert len(instance.messages("online mitras are silent")) == 1


def test_a_brake_that_was_not_confirmed_is_forgotten(mirror, iso, listening, silent, sweeper):
    mitras = [silent() for _ in range(20)]
    instance = sweeping(sweeper, MITRA_AUTO_OFFLINE_SWEEP_SECONDS=6)  # time enough for all to beat before the next
    instance.wait_log("online mitras are silent")

    for mitra in mitras:
        mirror.beat(mitra)

    holds_for(lambda: all(mirror.is_online(mitra) for mitra in mitras), 9, "everyone online")
    for mitra in mitras:
        mirror.beat(mitra, seconds_ago=LONG_AGO)
    wait_until(lambda: len(instance.messages("online mitras are silent")) == 2, what="the brake again")


def test_fewer_than_twenty_are_swept_without_a_brake(mirror, listening, silent, sweeper):
    mitras = [silent() for _ in range(19)]

    instance = sweeping(sweeper)

    wait_until(lambda: not any(mirror.is_online(mitra) for mitra in mitras), what="the sweep")
    assert not instance.messages("online mitras are silent")


def test_who_pings_in_the_middle_of_a_sweep_is_online_after_it(mirror, listening, silent, sweeper):
    pings, dead = silent(), silent()
    mirror.reseed()

    with in_the_middle_of_a_sweep(sweeper, mirror, pings) as instance:
        mirror.beat(pings)

    wait_until(lambda: mirror.is_online(pings), what="its return")
    wait_until(mirror.equal, what="the mirror to follow")
    assert mirror.shown()[pings.id][0]
    assert not mirror.is_online(dead)
    instance.wait_log("went offline, 1 came back")


def test_who_goes_offline_himself_in_the_middle_of_a_sweep_stays_offline(mirror, listening, silent, sweeper):
    leaves = silent()
    mirror.reseed()

    with in_the_middle_of_a_sweep(sweeper, mirror, leaves) as instance:
        mirror.put_online(leaves)
        mirror.database.execute("SELECT mitrad.mitra_go_offline(%s)", leaves.id)
        mirror.beat(leaves)

    instance.wait_log("went offline, 0 came back")
    mirror.keys.set("mirror:dirty", 1)
    wait_until(mirror.equal, what="the mirror to follow")
    assert not mirror.is_online(leaves)


def test_pings_against_sweeps_never_lose_a_mitra_who_was_told_online(mirror, iso, listening, silent, sweeper):
    """A mitra whose ping was stored is online afterwards, whenever it came."""
    mitras = [silent() for _ in range(10)]
    sweeping(sweeper)
    told = {}

    def ping(mitra):
        time.sleep(0.8)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline and not told.get(mitra.id):
            # As a worker does it: the key must be there.
            told[mitra.id] = mirror.keys.set(f"mitra:heartbeat:{mitra.id}", iso(), xx=True)

    threads = [threading.Thread(target=ping, args=(mitra,)) for mitra in mitras]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def told_are_online():
        return all(mirror.is_online(mitra) for mitra in mitras if told[mitra.id])

    wait_until(lambda: told_are_online() and mirror.equal(), what="the sweep's end")
    holds_for(told_are_online, 2.5, "through two more sweeps: everyone who was told so online")
    wait_until(mirror.equal, what="the mirror to follow")
