"""Reseeds: what `mitrad reseed` and the sweeper make of a mirror, whatever state it is in."""

import json
import signal
import threading
import time
import uuid

import pytest

from harness import process
from harness.mitrad import CALM
from harness.wait import wait_until

from .conftest import RANK, time_of


def test_a_reseed_shows_the_truth_and_says_what_it_showed(mirror, make_mitra, make_session):
    online, offline, deactivated = make_mitra(), make_mitra(), make_mitra(is_active=False)
    mirror.put_online(online)
    make_session(online)
    make_session(online, status="pending_payment")
    make_session(online, status="ended")

    said = mirror.reseed()

    assert "[valkey-mirror] seed: 1 online, 1 deactivated, 1 with active sessions" in said
    assert mirror.shown() == {
        online.id: (True, True, 2),
        offline.id: (False, True, 0),
        deactivated.id: (False, False, 0),
    }
    assert mirror.keys.get("mirror:generation")


def test_a_reseed_does_not_fake_liveness(mirror, make_mitra):
    dead, lost = make_mitra(), make_mitra()
    for mitra in (dead, lost):
        mirror.put_online(mitra, heard_ago=600)
    mirror.reseed()
    mirror.beat(dead, seconds_ago=300)
    mirror.keys.delete(f"mitra:heartbeat:{lost.id}")
    before = mirror.heartbeat(dead)

    mirror.reseed()

    assert mirror.heartbeat(dead) == before, "silent for five minutes, and still so"
    truth = mirror.database.value("SELECT heartbeat FROM mitrad.mirror_states(ARRAY[%s::uuid])", lost.id)
    assert mirror.heartbeat(lost) == truth, "only as fresh as the truth knows"


def test_a_reseed_never_moves_a_heartbeat_back(mirror, make_mitra):
    mitra = make_mitra()
    mirror.put_online(mitra, heard_ago=50)
    mirror.reseed()
    mirror.beat(mitra)
    before = mirror.heartbeat(mitra)

    mirror.reseed()

    assert mirror.heartbeat(mitra) == before


def test_the_start_of_another_instance_makes_nobody_fresh(mirror, make_mitra, listening, sweeper):
    mitra = make_mitra()
    mirror.put_online(mitra, heard_ago=600)
    mirror.reseed()
    before = mirror.heartbeat(mitra)

    sweeper().wait_log("[valkey-mirror] seed: 1 online")

    assert mirror.heartbeat(mitra) == before


def test_what_the_truth_does_not_know_is_removed(mirror, make_mitra, make_session):
    deleted, stays, stranger = make_mitra(), make_mitra(), str(uuid.uuid4())
    mirror.put_online(deleted)
    mirror.put_online(stays)
    mirror.reseed()
    mirror.database.execute("DELETE FROM mitras WHERE id = %s", deleted.id)
    mirror.keys.sadd("mitras:online", stranger, "not an id")
    mirror.keys.sadd("mitras:deactivated", stranger)
    mirror.keys.set(f"mitra:capacity:{stranger}", 3)
    mirror.keys.set("mitra:heartbeat:nobody", "never")

    mirror.reseed()

    assert mirror.shown() == {stays.id: (True, True, 0)}
    assert mirror.keys.keys("mitra:version:*") == [f"mitra:version:{stays.id}"]


def test_a_mirror_of_wrong_types_and_values_is_healed(mirror, make_mitra, make_session):
    mitras = [make_mitra() for _ in range(10)]
    for mitra in mitras[:5]:
        mirror.put_online(mitra)
    make_session(mitras[0])
    mirror.reseed()
    keys = mirror.keys
    keys.delete("mitras:online", "mitras:deactivated")
    keys.set("mitras:online", "a text")
    keys.rpush("mitras:deactivated", mitras[1].id)
    keys.delete(*(f"mitra:{kind}:{mitras[0].id}" for kind in ("capacity", "heartbeat", "version")))
    for kind in ("capacity", "heartbeat", "version"):
        keys.hset(f"mitra:{kind}:{mitras[0].id}", "a", "hash")
    keys.set(f"mitra:capacity:{mitras[1].id}", "many")
    keys.set(f"mitra:version:{mitras[2].id}", "new")
    keys.set(f"mitra:version:{mitras[3].id}", "999999999")
    keys.set(f"mitra:heartbeat:{mitras[4].id}", "yesterday")
    keys.set(f"mitra:heartbeat:{mitras[9].id}", "2026-01-01T00:00:00.000Z")
    keys.set("mirror:changes", "some")
    keys.set("mirror:config", "{no json")

    mirror.reseed()

    assert mirror.equal()
    assert mirror.command("verify").returncode == 0


# What may be wrong with one mitra: `on` is online, and `off` is not.
WRONG = {
    "an older version": lambda keys, on, off: keys.set(f"mitra:version:{on.id}", "0"),
    "no version": lambda keys, on, off: keys.delete(f"mitra:version:{off.id}"),
    "another load": lambda keys, on, off: keys.set(f"mitra:capacity:{on.id}", "2"),
    "a load of another type": lambda keys, on, off: keys.delete(f"mitra:capacity:{off.id}")
    and keys.hset(f"mitra:capacity:{off.id}", "a", "hash"),
    "not online": lambda keys, on, off: keys.srem("mitras:online", on.id),
    "online": lambda keys, on, off: keys.sadd("mitras:online", off.id),
    "deactivated": lambda keys, on, off: keys.sadd("mitras:deactivated", on.id),
    "no heartbeat": lambda keys, on, off: keys.delete(f"mitra:heartbeat:{on.id}"),
    "an older heartbeat": lambda keys, on, off: keys.set(f"mitra:heartbeat:{on.id}", "2020-02-20T20:20:20.200Z"),
    "a heartbeat that is no time": lambda keys, on, off: keys.set(f"mitra:heartbeat:{on.id}", "2999-02-30T"),
    "a heartbeat of one who is offline": lambda keys, on, off: keys.set(f"mitra:heartbeat:{off.id}", time_of()),
    "the same of another type": lambda keys, on, off: keys.hset(f"mitra:heartbeat:{off.id}", "a", "hash"),
    "a rank": lambda keys, on, off: keys.zadd("mirror:ranking", {off.id: 0}) and keys.sadd("mitras:online", off.id),
    "another rank": lambda keys, on, off: keys.zadd("mirror:ranking", {on.id: 3 * RANK}),
    "silence of one who is offline": lambda keys, on, off: keys.sadd("mirror:silent", off.id),
}


@pytest.mark.parametrize("what", WRONG)
def test_whatever_is_wrong_with_one_mitra_is_healed(what, mirror, make_mitra):
    on, off = make_mitra(), make_mitra()
    mirror.put_online(on)
    mirror.reseed()
    WRONG[what](mirror.keys, on, off)

    mirror.reseed()

    assert mirror.equal()
    assert not mirror.keys.sismember("mirror:silent", off.id)
    assert mirror.command("verify").returncode == 0


def test_a_reseed_writes_only_what_is_wrong(mirror, make_mitra, make_session):
    mitras = [make_mitra(is_active=number % 10 != 0) for number in range(600)]
    for mitra in mitras[::3]:
        mirror.put_online(mitra)
    make_session(mitras[3])
    mirror.reseed()
    mirror.keys.set(f"mitra:capacity:{mitras[3].id}", "77")
    mirror.keys.config_resetstat()

    mirror.reseed()

    calls = {name: stat["calls"] for name, stat in mirror.keys.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == 2, "one to mend the keys' types, and one for the one who was wrong"
    assert calls.get("cmdstat_sadd", 0) + calls.get("cmdstat_srem", 0) < 10
    assert mirror.equal()


OWN_KEYS = ("alive", "changes", "config", "dirty", "generation", "snapshot:lock", "stamped")


def test_keys_of_our_own_that_became_another_type_are_mended_at_once(mirror, make_mitra, listening, sweeper):
    mitra = make_mitra()
    mirror.put_online(mitra)
    instance = sweeper()
    instance.wait_log("[valkey-mirror] seed: 1 online")
    spoilt = [*(f"mirror:{name}" for name in OWN_KEYS), "sweeper:lease"]

    with mirror.keys.pipeline() as at_once:
        for key in spoilt:
            at_once.delete(key).rpush(key, "by hand")
        at_once.execute()

    wait_until(lambda: all(mirror.keys.type(key) in ("string", "none") for key in spoilt), what="wrong types to be gone")
    wait_until(lambda: mirror.keys.get("mirror:generation"), what="a reseed")
    assert mirror.equal()


def test_a_key_that_was_made_to_last_stands_in_nobodys_way(mirror, make_mitra, listening, sweeper):
    mirror.put_online(make_mitra())
    lasting = ("sweeper:lease", "mirror:snapshot:lock", "availability:snapshot")
    for key in lasting:
        mirror.keys.set(key, "by hand")

    instance = sweeper()
    instance.wait_log("[valkey-mirror] seed: 1 online")

    wait_until(lambda: mirror.keys.ttl("sweeper:lease") > 0, what="the lease to be taken")
    assert not mirror.keys.exists("mirror:snapshot:lock", "availability:snapshot")


@pytest.mark.parametrize("text", ["by hand", "x" * 100, "2999-01-01T00:00:00.000Z"])
def test_since_when_somebody_listens_is_found_anew_if_it_cannot_be(text, mirror, listening, make_mitra, sweeper):
    mitra = make_mitra()
    mirror.put_online(mitra, heard_ago=600)
    sweeper().wait_log("[valkey-mirror] seed: 1 online")
    before = mirror.heartbeat(mitra)

    mirror.keys.set("mirror:alive", text, ex=10)

    wait_until(lambda: mirror.keys.get("mirror:alive") == listening, what="the listener's own time")
    assert mirror.heartbeat(mitra) == before, "nobody is made to look fresh by it"


def test_after_a_restored_backup_the_truth_wins_and_goes_on(mirror, make_mitra):
    mitra = make_mitra()
    mirror.put_online(mitra)
    mirror.database.execute("UPDATE mitras SET version = version + 100 WHERE id = %s", mitra.id)
    mirror.reseed()
    assert mirror.shown()[mitra.id] == (True, True, 0)

    # What a restore does: an older row, versions included, by the back door.
    with mirror.database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE mitras SET version = 3 WHERE id = %s", (mitra.id,))
        cursor.execute("UPDATE mitra_online_status SET is_online = false WHERE mitra_id = %s", (mitra.id,))
    mirror.reseed()

    assert mirror.shown()[mitra.id] == (False, True, 0)
    assert mirror.keys.get(f"mitra:version:{mitra.id}") == "3"


def test_a_hand_edit_of_the_tables_is_healed_by_the_next_periodic_reseed(
    mirror, make_mitra, make_session, sweeper
):
    mitra, sudden = make_mitra(), make_mitra()
    sweeper(VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1)
    wait_until(mirror.equal, what="the first seed")

    mirror.put_online(sudden)
    mirror.database.execute("UPDATE mitras SET is_active = false WHERE id = %s", mitra.id)
    make_session(sudden)

    wait_until(mirror.equal, what="the mirror to follow")


def test_a_hand_edit_of_app_config_is_published(mirror, sweeper):
    channel = mirror.keys.pubsub()
    sweeper(VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1)
    channel.subscribe("config:invalidate")

    mirror.database.execute(
        """INSERT INTO app_config (key, value) VALUES ('stale_after_seconds', '45')
           ON CONFLICT (key) DO UPDATE SET value = excluded.value"""
    )

    def told():
        message = channel.get_message(ignore_subscribe_messages=True, timeout=0.1)
        return message and message["data"] == '{"keys" : ["stale_after_seconds"]}'

    wait_until(told, what="config:invalidate")
    channel.close()


def test_an_emptied_valkey_is_reseeded_soon(mirror, make_mitra, listening, sweeper):
    for _ in range(3):
        mirror.put_online(make_mitra())
    sweeper()
    wait_until(mirror.equal, what="the first seed")

    for _ in range(3):
        mirror.keys.flushdb()
        began = time.monotonic()
        wait_until(lambda: mirror.keys.get("mirror:generation"), what="the generation")
        assert time.monotonic() - began < 10, "two, on a machine at leisure; the clock's reseed is an hour away"
        assert mirror.equal(), "the generation comes last"


def test_a_mirror_that_somebody_could_not_write_to_is_reseeded_at_once(mirror, make_mitra, listening, sweeper):
    sweeper()
    wait_until(lambda: mirror.keys.get("mirror:generation"), what="the first seed")
    mirror.put_online(make_mitra())

    mirror.keys.set("mirror:dirty", 1)

    wait_until(mirror.equal, what="the mirror to follow")
    assert not mirror.keys.exists("mirror:dirty")


def test_the_death_of_a_worker_makes_the_sweeper_look_again(mirror, make_mitra, mitrad_factory):
    """It may have died between commit and mirror; and what it had sent may commit still later."""
    instance = mitrad_factory(arrangement=CALM, DATABASE_TIMEOUT_MS=3000)
    first, second = make_mitra(), make_mitra()

    mirror.put_online(first)
    process.send(instance.children()["worker"][0], signal.SIGKILL)

    wait_until(mirror.equal, what="what the worker had not written")
    mirror.put_online(second)
    wait_until(mirror.equal, what="what was committed after its death")


def test_a_valkey_that_was_away_is_reseeded_at_its_return(mirror, valkey, make_mitra, listening, sweeper):
    instance = sweeper()
    wait_until(lambda: mirror.keys.get("mirror:generation"), what="the first seed")

    valkey.stop()
    mirror.put_online(make_mitra())
    instance.wait_log("[valkey] down")
    valkey.forget()
    valkey.start()

    wait_until(mirror.equal, what="the mirror to follow")


def test_without_valkey_the_sweeper_starts_and_seeds_when_it_comes(mirror, valkey, make_mitra, sweeper):
    mirror.put_online(make_mitra())
    valkey.stop()
    instance = sweeper()
    instance.wait_log("[valkey-mirror] seed failed, trying again")

    valkey.start()

    wait_until(mirror.equal, what="the seed")
    assert len(instance.messages("seed failed")) == 1, "said once"


def test_an_emptying_in_the_middle_of_a_reseed_is_noticed(
    mirror, valkey, proxy_factory, make_mitra, listening, sweeper
):
    """Whatever page it hits: the generation never says "complete" of a mirror that is not."""
    for _ in range(50):
        mirror.put_online(make_mitra())
    proxy = proxy_factory(valkey)
    proxy.slow(0.02)
    sweeper(VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1, VALKEY_URL=valkey.url_through(proxy), VALKEY_TIMEOUT_MS=5000)

    for step in range(8):
        wait_until(lambda: mirror.keys.keys("mirror:seed:*"), what="a reseed under way")
        time.sleep(step * 0.03)  # anywhere in it: eight places
        mirror.keys.flushdb()
        wait_until(lambda: mirror.keys.get("mirror:generation"), what="the generation")
        assert mirror.keys.scard("mitras:online") == 50


def test_no_reader_ever_sees_an_empty_set_during_a_reseed(mirror, make_mitra):
    for _ in range(30):
        mirror.put_online(make_mitra())
    mirror.reseed()
    counts, stop = set(), threading.Event()

    def watch():
        while not stop.is_set():
            counts.add(mirror.keys.scard("mitras:online"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(10):
        mirror.reseed()
    stop.set()
    watcher.join()

    assert counts == {30}


def test_verify_and_diff_say_where_mirror_and_truth_differ(mirror, make_mitra, make_session):
    mitra, other = make_mitra(), make_mitra()
    mirror.put_online(mitra)
    mirror.reseed()
    assert mirror.command("verify").returncode == 0

    mirror.keys.srem("mitras:online", mitra.id)
    mirror.keys.set(f"mitra:capacity:{other.id}", 2)
    mirror.keys.sadd("mitras:deactivated", "ghost")

    assert mirror.command("verify").returncode == 1
    told = mirror.command("diff")
    assert told.returncode == 1
    assert f"{mitra.id} online: truth yes, mirror no" in told.stdout
    assert f"{other.id} sessions: truth 0, mirror 2" in told.stdout
    assert "ghost exists: truth no, mirror yes" in told.stdout
    assert "3 differences" in told.stdout
    mirror.keys.srem("mitras:deactivated", "ghost")
    mirror.keys.set(f"mitra:capacity:{other.id}", 0)
    assert mirror.command("verify").stdout == "1 difference between the mirror and the truth\n"
    assert mirror.command("reseed").returncode == 0
    assert "the mirror is equal to the truth" in mirror.command("diff").stdout


def test_a_commands_result_is_on_stdout_and_its_log_is_not(mirror, make_mitra):
    make_mitra()
    mirror.settings["LOG_LEVEL"] = "debug"
    for verb, result in {"reseed": "[valkey-mirror] seed: 0 online, 0 deactivated, 0 with active sessions\n",
                         "verify": "the mirror is equal to the truth\n"}.items():
        done = mirror.command(verb)
        assert done.stdout == result
        assert "[postgres] connected" in done.stderr
        assert all(json.loads(line)["process"] == "mirror" for line in done.stderr.splitlines())


def test_commands_without_a_server_to_talk_to_fail_and_say_why(mirror, valkey):
    valkey.stop()
    for verb in ("verify", "diff", "reseed"):
        done = mirror.command(verb)
        assert done.returncode == 1
        assert "onnect" in done.stdout + done.stderr
