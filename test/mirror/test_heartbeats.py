"""The heartbeat mirror: PostgreSQL learns when each mitra was last heard of."""

import time

from harness.wait import wait_until


def heard(mirror, mitra):
    return mirror.database.value(
        "SELECT mitrad.iso(last_heartbeat_at) FROM mitra_online_status WHERE mitra_id = %s", mitra.id
    )


def copying(sweeper):
    return sweeper(HEARTBEAT_MIRROR_INTERVAL_SECONDS=1)


def test_heartbeats_are_copied_to_postgresql_in_one_statement_a_cycle(mirror, listening, make_mitra, sweeper):
    mitras = [make_mitra() for _ in range(25)]
    for mitra in mitras:
        mirror.put_online(mitra, heard_ago=60)
    copying(sweeper)
    for mitra in mitras:
        mirror.beat(mitra, seconds_ago=5)

    began = time.monotonic()
    with mirror.database.statements() as ran:
        wait_until(lambda: all(heard(mirror, m) == mirror.heartbeat(m) for m in mitras), what="the copy")

    cycles = time.monotonic() - began
    assert 1 <= ran.matching("heartbeats_store") <= cycles + 2


def test_many_are_read_in_portions_and_stored_at_once(mirror, listening, sweeper, iso):
    count = 12_500
    mirror.database.execute(
        f"""WITH made AS (
                INSERT INTO mitras (phone, display_name, is_active)
                SELECT '+62811' || lpad(i::text, 7, '0'), 'm', true FROM generate_series(1, {count}) i RETURNING id)
            INSERT INTO mitra_online_status (mitra_id, is_online, online_since, last_heartbeat_at)
            SELECT id, true, now() - interval '1 min', now() - interval '1 min' FROM made"""
    )
    copying(sweeper)
    wait_until(lambda: mirror.keys.exists("mirror:generation"), what="the seed")
    late = "SELECT count(*) FROM mitra_online_status WHERE mitrad.iso(last_heartbeat_at) <> %s"

    mirror.keys.config_resetstat()
    with mirror.database.statements() as ran:
        beat = iso(5)
        mirror.keys.mset({f"mitra:heartbeat:{id}": beat for id in mirror.keys.smembers("mitras:online")})
        wait_until(lambda: mirror.database.value(late, beat) == 0, 60, "the copy")

    reads = mirror.keys.info("commandstats")["cmdstat_mget"]["calls"]
    assert reads > 3 * ran.matching("heartbeats_store") >= 6


def test_a_heartbeat_never_goes_back_in_postgresql(mirror, listening, make_mitra, sweeper):
    ahead, witness = make_mitra(), make_mitra()
    mirror.put_online(ahead, heard_ago=1)
    mirror.put_online(witness, heard_ago=60)
    copying(sweeper)
    before = heard(mirror, ahead)
    mirror.beat(ahead, seconds_ago=30)
    mirror.beat(witness, seconds_ago=30)

    wait_until(lambda: heard(mirror, witness) == mirror.heartbeat(witness), what="the copy")

    assert heard(mirror, ahead) == before


def test_what_is_no_heartbeat_stops_nobody_elses(mirror, listening, make_mitra, sweeper):
    odd, witness = make_mitra(), make_mitra()
    for mitra in (odd, witness):
        mirror.put_online(mitra, heard_ago=60)
    copying(sweeper)
    mirror.keys.set(f"mitra:heartbeat:{odd.id}", "soon, {\"}")
    mirror.keys.sadd("mitras:online", "no id")
    mirror.beat(witness)

    wait_until(lambda: heard(mirror, witness) == mirror.heartbeat(witness), what="the copy")


def test_without_valkey_it_says_so(valkey, sweeper):
    instance = copying(sweeper)
    valkey.stop()
    instance.wait_log("[heartbeat-mirror] valkey unavailable, skipping: ")
