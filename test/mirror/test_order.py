"""Order: transitions, sweeps and reseeds reach the mirror in any order, and it still ends equal to the truth."""

import itertools
import os
import random
import threading
import time
import uuid

import pytest
import redis

from harness import program
from harness.mitrad import CALM
from harness.wait import wait_until

SCRIPT = os.path.join(program.REPOSITORY, "common", "mirror.lua")
HORIZON = "9999-12-31T23:59:59.999Z"


@pytest.fixture
def apply(mirror, iso):
    """apply(*states, cutoff=""): mirror.lua itself; a state is (id, version, online, active, sessions[, expected])."""
    with open(SCRIPT, encoding="ascii") as file:
        script = mirror.keys.register_script(file.read())

    def run(*states, cutoff=""):
        arguments = [iso(), int(time.time() * 1000), HORIZON, "plain", cutoff]
        for id, version, online, active, sessions, *expected in states:
            heartbeat = iso() if online else ""
            arguments += [id, version, int(online), int(active), sessions, heartbeat, *(expected or [""])]
        return script(args=arguments)

    return run


def shown(mirror, id):
    keys = mirror.keys
    return (
        bool(keys.sismember("mitras:online", id)),
        not keys.sismember("mitras:deactivated", id),
        keys.get(f"mitra:capacity:{id}"),
    )


def test_two_capacity_recomputes_in_the_wrong_order_leave_the_later_one(mirror, apply):
    id = str(uuid.uuid4())
    assert apply((id, 8, True, True, 2)) == [1]
    assert apply((id, 7, True, True, 1)) == [0, id, "8"]
    assert shown(mirror, id) == (True, True, "2")


def test_any_order_of_all_states_of_a_mitra_ends_with_the_last(mirror, apply):
    states = [(True, True, 0), (True, True, 2), (False, True, 1), (False, False, 0)]
    for order in itertools.permutations(enumerate(states, start=1)):
        id = str(uuid.uuid4())
        for version, state in order:
            apply((id, version, *state))
        assert shown(mirror, id) == (False, False, "0")
        assert not mirror.keys.exists(f"mitra:heartbeat:{id}")


def test_versions_are_compared_as_numbers(mirror, apply):
    id = str(uuid.uuid4())
    apply((id, 10, True, True, 0))
    apply((id, 9, False, True, 0))
    assert shown(mirror, id)[0]


def test_a_newer_mirror_gives_way_only_to_who_has_seen_it(mirror, apply):
    id = str(uuid.uuid4())
    apply((id, 10, True, True, 0))
    assert apply((id, 3, False, True, 0, "9")) == [0, id, "10"]
    assert apply((id, 3, False, True, 0, "10")) == [1]
    assert not shown(mirror, id)[0]


def test_a_swept_mitra_who_was_heard_after_the_cutoff_is_left_alone(mirror, iso, apply):
    id = str(uuid.uuid4())
    apply((id, 1, True, True, 0))
    assert apply((id, 2, False, True, 0), cutoff=iso(60)) == [0, id, ""]
    assert shown(mirror, id)[0]
    assert apply((id, 2, False, True, 0), cutoff=iso(-60)) == [1]
    assert not shown(mirror, id)[0]


def test_random_toggles_edits_reseeds_and_flushes_end_with_mirror_equal_to_truth(
    mirror, valkey, make_mitra, make_session, mitrad_factory, operator_token
):
    """Several clients, two instances, and somebody who empties Valkey now and then."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    instances = [
        mitrad_factory(arrangement=CALM, VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1, WORKERS=1) for _ in range(2)
    ]
    mitras = [make_mitra() for _ in range(8)]
    sessions = [make_session(mitra, status="ended") for mitra in mitras for _ in range(2)]
    failures = []

    def client(number):
        chance = random.Random(seed + number)
        database = mirror.database.connect()
        cursor = database.cursor()
        try:
            for _ in range(120):
                instance, mitra = chance.choice(instances), chance.choice(mitras)
                action = chance.random()
                if action < 0.7:
                    path = chance.choice(["online", "offline", "heartbeat", "online"])
                    answer = instance.post(f"/api/mitra/status/{path}", token=mitra.token)
                    assert answer.status in (200, 403), answer
                elif action < 0.85:
                    active = chance.random() < 0.7
                    answer = instance.internal.patch(
                        f"/internal/mitras/{mitra.id}", token=operator_token, json={"is_active": active}
                    )
                    assert answer.status == 200, answer
                else:
                    status = chance.choice(["active", "pending_payment", "ended"])
                    change = "UPDATE chat_sessions SET status = %s WHERE id = %s"
                    cursor.execute(change, (status, chance.choice(sessions)))
        except Exception as failure:  # shown by the test itself
            failures.append(failure)
        finally:
            database.close()

    def destroyer():
        chance = random.Random(seed)
        keys = valkey.client()
        for _ in range(6):
            threading.Event().wait(chance.random() * 0.6)
            action = chance.random()
            if action < 0.4:
                keys.flushdb()
            elif action < 0.7:
                keys.delete("mitras:online")
                keys.incr("mirror:dirty")
            else:
                mirror.reseed()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(4)]
    threads.append(threading.Thread(target=destroyer))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not failures, failures
    wait_until(mirror.equal, what="mirror and truth to be equal")
    assert mirror.command("verify").returncode == 0


def test_restarts_of_valkey_under_toggles_end_with_mirror_equal_to_truth(
    mirror, valkey, make_mitra, mitrad_factory
):
    instance = mitrad_factory(arrangement=CALM)
    mitras = [make_mitra() for _ in range(6)]
    stop = threading.Event()
    failures = []

    def client(number):
        chance = random.Random(number)
        while not stop.is_set():
            path = chance.choice(["online", "offline"])
            answer = instance.post(f"/api/mitra/status/{path}", token=chance.choice(mitras).token)
            if answer.status != 200:
                failures.append(answer)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for keep in (True, False, True):
        valkey.restart(keep=keep)
        wait_until(lambda: _generation(mirror), what="the generation")
    stop.set()
    for thread in threads:
        thread.join()

    assert not failures, failures[:3]
    wait_until(mirror.equal, what="mirror and truth to be equal")


def _generation(mirror):
    try:
        return mirror.keys.get("mirror:generation")
    except redis.RedisError:
        return None
