"""Auto-offline: who is silent for stale_after_seconds goes offline, and nobody else."""

import threading
import time

import pytest

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


def test_who_is_silent_goes_offline_everywhere_with_a_log_row(mirror, listening, silent, sweeper):
    mitra = silent()

    sweeping(sweeper)

    wait_until(lambda: not mirror.is_online(mitra), what="the sweep")
    wait_until(mirror.equal, what="the mirror to follow")
    assert mirror.heartbeat(mitra) is None
    logs = mirror.database.rows("SELECT status, reason FROM mitra_online_logs WHERE mitra_id = %s", mitra.id)
    assert logs == [{"status": "offline", "reason": "auto_offline"}]


def test_who_beats_stays_online_though_postgresql_has_not_heard_of_it(mirror, listening, silent, sweeper):
    beating, witness = silent(), silent()
    mirror.reseed()
    mirror.beat(beating, seconds_ago=80)

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

    instance = sweeping(sweeper, MITRA_AUTO_OFFLINE_SWEEP_SECONDS=3)

    line = instance.wait_log("[auto-offline] 20 of 20 online mitras are silent")
    assert line["severity"] == "CRITICAL"
    assert all(mirror.is_online(mitra) for mitra in mitras)
    wait_until(lambda: not any(mirror.is_online(mitra) for mitra in mitras), what="the second tick")
    assert len(instance.messages("online mitras are silent")) == 1


def test_a_brake_that_was_not_confirmed_is_forgotten(mirror, iso, listening, silent, sweeper):
    mitras = [silent() for _ in range(20)]
    instance = sweeping(sweeper, MITRA_AUTO_OFFLINE_SWEEP_SECONDS=2)
    instance.wait_log("online mitras are silent")

    for mitra in mitras:
        mirror.beat(mitra)

    holds_for(lambda: all(mirror.is_online(mitra) for mitra in mitras), 3, "everyone online")
    for mitra in mitras:
        mirror.beat(mitra, seconds_ago=LONG_AGO)
    wait_until(lambda: len(instance.messages("online mitras are silent")) == 2, what="the brake again")


def test_fewer_than_twenty_are_swept_without_a_brake(mirror, listening, silent, sweeper):
    mitras = [silent() for _ in range(19)]

    instance = sweeping(sweeper)

    wait_until(lambda: not any(mirror.is_online(mitra) for mitra in mitras), what="the sweep")
    assert not instance.messages("online mitras are silent")


def test_who_pings_in_the_middle_of_a_sweep_is_online_after_it(
    mirror, postgres, proxy_factory, listening, silent, sweeper
):
    """PostgreSQL answers late: a second lies between the flip in the truth and the mirror's learning of it."""
    pings, dead = silent(), silent()
    mirror.reseed()
    proxy = proxy_factory(postgres)
    instance = sweeping(sweeper, DATABASE_URL=mirror.database.url_through(proxy), DATABASE_TIMEOUT_MS=20000)
    proxy.slow(1.0)

    wait_until(lambda: not mirror.is_online(pings), what="the flip")
    mirror.beat(pings)
    proxy.slow(0.0)

    wait_until(lambda: mirror.is_online(pings), what="its return")
    wait_until(mirror.equal, what="the mirror to follow")
    assert mirror.shown()[pings.id][0]
    assert not mirror.is_online(dead)
    instance.wait_log("went offline, 1 came back")


def test_who_goes_offline_himself_in_the_middle_of_a_sweep_stays_offline(
    mirror, postgres, proxy_factory, listening, silent, sweeper
):
    leaves = silent()
    mirror.reseed()
    proxy = proxy_factory(postgres)
    instance = sweeping(sweeper, DATABASE_URL=mirror.database.url_through(proxy), DATABASE_TIMEOUT_MS=20000)
    proxy.slow(1.0)

    wait_until(lambda: not mirror.is_online(leaves), what="the flip")
    mirror.put_online(leaves)
    mirror.database.execute("SELECT mitrad.mitra_go_offline(%s)", leaves.id)
    mirror.beat(leaves)
    proxy.slow(0.0)

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
    time.sleep(2.5)  # two more sweeps

    for mitra in mitras:
        if told[mitra.id]:
            assert mirror.is_online(mitra)
    assert mirror.equal()
