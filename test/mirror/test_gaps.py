"""Gaps: a time in which nobody could be heard is nobody's silence."""

import time

from harness.mitrad import CALM
from harness.wait import holds_for, wait_until


def fresh(mirror, mitra, iso_now):
    """Was the mitra heard of in the last seconds, as far as the mirror knows?"""
    heartbeat = mirror.heartbeat(mitra)
    return heartbeat is not None and heartbeat > iso_now


def test_after_a_time_without_any_server_everyone_online_is_stamped_once(mirror, iso, make_mitra, sweeper):
    mitra, offline = make_mitra(), make_mitra()
    mirror.put_online(mitra, heard_ago=3600)
    mirror.reseed()
    assert not fresh(mirror, mitra, iso(60)), "by hand nobody is made fresh"

    sweeper().wait_log("[valkey-mirror] seed: 1 online")

    assert fresh(mirror, mitra, iso(60))
    assert mirror.heartbeat(offline) is None
    assert mirror.keys.get("mirror:stamped") >= iso(60)


def test_a_gap_ends_with_one_stamp_and_silence_counts_from_then_on(
    mirror, iso, make_mitra, listening, sweeper
):
    mitra = make_mitra()
    mirror.put_online(mitra, heard_ago=600)
    sweeper(VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1)
    assert not fresh(mirror, mitra, iso(60))

    # What is left when nobody has listened for ten seconds, and then somebody does.
    mirror.keys.set("mirror:alive", iso(), ex=10)

    wait_until(lambda: fresh(mirror, mitra, iso(60)), what="the stamp")
    stamp = mirror.heartbeat(mitra)
    mirror.keys.set("mirror:dirty", 1)
    wait_until(lambda: not mirror.keys.exists("mirror:dirty"), what="another reseed")
    holds_for(lambda: mirror.heartbeat(mitra) == stamp, 2.5, "one stamp a gap")


def test_after_flushdb_everyone_online_is_available_again_soon(
    mirror, mitrad_factory, online_mitra, until
):
    instance = mitrad_factory(arrangement=CALM)
    mitras = [online_mitra(instance) for _ in range(3)]
    mirror.database.execute("UPDATE mitra_online_status SET last_heartbeat_at = now() - interval '80 s'")

    mirror.keys.flushdb()
    began = time.monotonic()

    until(lambda: mirror.keys.get("mirror:generation"))
    assert time.monotonic() - began < 10, "two, on a machine at leisure; the clock's reseed is an hour away"
    assert instance.get("/public/bestie-availability").json["count"] == len(mitras)
    assert mirror.equal()


def test_a_stamp_from_a_clock_that_was_set_back_is_replaced(mirror, iso, make_mitra, listening, sweeper):
    mitra = make_mitra()
    mirror.put_online(mitra)
    sweeper()
    mirror.beat(mitra, seconds_ago=-3600)

    mirror.keys.set("mirror:alive", iso(), ex=10)

    wait_until(lambda: mirror.heartbeat(mitra) < iso(-60), what="a stamp of now")


def test_nobody_is_swept_for_silence_in_an_outage(mirror, valkey, online_mitra, mitrad_factory, until, set_limit):
    """Valkey is away for longer than stale_after_seconds, and comes back with the data of before."""
    set_limit(stale_after_seconds=15)
    instance = mitrad_factory(MITRA_AUTO_OFFLINE_SWEEP_SECONDS=1)
    mitras = [online_mitra(instance) for _ in range(5)]
    until(lambda: mirror.keys.get("mirror:generation"))
    mirror.keys.save()

    valkey.stop()
    time.sleep(17)  # the outage itself is the matter here
    assert all(mirror.is_online(mitra) for mitra in mitras)
    lines = len(instance.log_lines())
    valkey.start()
    instance.wait_log("[valkey-mirror] seed:", after=lines)

    # A second reseed may be needed for the stamps; silence since then is too short for anybody to be swept.
    until(lambda: instance.get("/public/bestie-availability").json["count"] == len(mitras))
    holds_for(lambda: all(mirror.is_online(mitra) for mitra in mitras), 4, "everyone stays online")
    assert instance.messages("[auto-offline] valkey unavailable, skipping this tick: ")
