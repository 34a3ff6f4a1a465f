"""
Everything at once: several clients toggle, beat, deactivate and edit, while reseeds run, Valkey is emptied, restarted and
lost, and workers are killed, on two instances that share one truth and one mirror.  When it is over, mirror equals truth.
"""

import os
import random
import signal
import threading
import time

import psycopg2.errors
import pytest
import redis

from harness import process
from harness.wait import wait_until

SECONDS = 15
CLIENTS = 4
MITRAS = 10


class Chaos:
    """What the threads share.  An unexpected failure of one of them ends all, and the test."""

    def __init__(self, mirror, valkey, instances, mitras, sessions, operator_token):
        self.mirror = mirror
        self.valkey = valkey
        self.instances = instances
        self.mitras = mitras
        self.sessions = sessions
        self.operator_token = operator_token
        self.until = time.monotonic() + SECONDS
        self.answered = 0
        self.lost = 0
        self.failures = []

    def run(self, loops, disasters):
        """The disasters happen in this thread: a server dies with the thread that started it."""
        threads = [threading.Thread(target=self._guarded, args=(loop,)) for loop in loops]
        for thread in threads:
            thread.start()
        self._guarded(disasters)
        for thread in threads:
            thread.join()
        assert not self.failures, self.failures

    def going_on(self):
        return time.monotonic() < self.until and not self.failures

    def _guarded(self, loop):
        try:
            loop()
        except Exception as failure:  # shown by run()
            self.failures.append(failure)

    # Clients

    def client(self, chance):
        connection = self.mirror.database.connect()
        with connection.cursor() as cursor:
            while self.going_on():
                action = chance.choices([self.toggle, self.operate, self.edit], [14, 3, 3])[0]
                try:
                    action(chance, cursor)
                    self.answered += 1
                except (OSError, psycopg2.errors.DeadlockDetected):
                    # The worker was killed in the middle of it; or an edit by hand, which takes its locks in
                    # the order of its own, was the one to give way.
                    self.lost += 1
        connection.close()

    def toggle(self, chance, _cursor):
        path = chance.choice(["online", "online", "offline", "heartbeat"])
        answer = chance.choice(self.instances).post(
            f"/api/mitra/status/{path}", token=chance.choice(self.mitras).token
        )
        assert answer.status in (200, 403), answer

    def operate(self, chance, _cursor):
        answer = chance.choice(self.instances).internal.patch(
            f"/internal/mitras/{chance.choice(self.mitras).id}",
            token=self.operator_token,
            json={"is_active": chance.random() < 0.7},
        )
        assert answer.status == 200, answer

    def edit(self, chance, cursor):
        """By hand: of this only the next reseed tells the mirror."""
        if chance.random() < 0.8:
            status = chance.choice(["active", "pending_payment", "ended", "cancelled"])
            cursor.execute(
                "UPDATE chat_sessions SET status = %s WHERE id = %s", (status, chance.choice(self.sessions))
            )
        else:
            cursor.execute(
                "UPDATE mitra_online_status SET is_online = %s WHERE mitra_id = %s",
                (chance.random() < 0.5, chance.choice(self.mitras).id),
            )

    # Disasters

    def disasters(self, chance):
        kinds = [self.reseed, self.empty, self.corrupt, self.restart_valkey, self.kill_worker, self.kill_sweeper]
        while self.going_on():
            chance.choices(kinds, [4, 2, 2, 1, 3, 1])[0](chance)
            threading.Event().wait(chance.random())

    def reseed(self, _chance):
        self.mirror.command("reseed")

    def empty(self, _chance):
        with self.valkey.client() as keys:
            keys.flushdb()

    def corrupt(self, chance):
        """What an operator's slip could do; "dirty" is how one has it mended at once."""
        mitra = chance.choice(self.mitras).id
        with self.valkey.client() as keys:
            keys.delete(chance.choice(["mitras:online", "mitras:deactivated", f"mitra:heartbeat:{mitra}"]))
            keys.sadd(chance.choice(["mitras:online", "mitras:deactivated"]), mitra)
            keys.set(f"mitra:capacity:{mitra}", "77")
            keys.set("mirror:dirty", "1")

    def restart_valkey(self, chance):
        try:
            self.valkey.restart(keep=chance.random() < 0.5)
        except redis.RedisError:
            self.valkey.ensure_running()

    def kill_worker(self, chance):
        process.send(chance.choice(self._children(chance, "worker")), signal.SIGKILL)

    def kill_sweeper(self, chance):
        process.send(chance.choice(self._children(chance, "sweeper")), signal.SIGKILL)

    def _children(self, chance, kind):
        instance = chance.choice(self.instances)
        return wait_until(lambda: instance.children()[kind], what=f"a {kind}")


@pytest.mark.deadline(180)
def test_after_any_interleaving_the_mirror_equals_the_truth(
    mirror, valkey, make_mitra, make_session, mitrad_factory, operator_token
):
    seed = int(os.environ.get("TEST_SEED") or random.randrange(1 << 32))
    print(f"TEST_SEED={seed}")
    instances = [mitrad_factory(), mitrad_factory()]
    mitras = [make_mitra() for _ in range(MITRAS)]
    sessions = [make_session(mitra, status="ended") for mitra in mitras for _ in range(3)]
    chaos = Chaos(mirror, valkey, instances, mitras, sessions, operator_token)

    def client(number):
        return lambda: chaos.client(random.Random(seed + number))

    chaos.run(map(client, range(CLIENTS)), lambda: chaos.disasters(random.Random(seed - 1)))
    print(f"{chaos.answered} answered, {chaos.lost} lost")
    assert chaos.answered > 100

    wait_until(lambda: no_difference(mirror), 60, "mirror and truth to be equal")
    assert mirror.equal()
    truth = mirror.truth()
    for instance in instances:
        for mitra in mitras:
            online, active, load = truth[mitra.id]
            wait_until(lambda i=instance, m=mitra, o=online, n=load: says(i, m, o, n), what="the right status")
            beat = instance.post("/api/mitra/status/heartbeat", token=mitra.token)
            assert beat.status == (200 if active else 403)
            assert not active or beat.json == {"online": online}
        wait_until(lambda i=instance: lists_the_truth(i, mirror, operator_token), what="the list to be the truth's")


def no_difference(mirror):
    found = mirror.command("diff")
    assert found.returncode == 0, found.stdout
    return True


def says(instance, mitra, online, load):
    status = instance.get("/api/mitra/status", token=mitra.token).json
    return (status["online"], status["active_sessions"]) == (online, load)


def lists_the_truth(instance, mirror, operator_token):
    listed = instance.internal.get("/internal/availability", token=operator_token).json
    truth = mirror.database.rows("SELECT id, sessions FROM mitrad.availability()")
    return listed["source"] == "valkey" and [(m["id"], m["sessions"]) for m in listed["mitras"]] == [
        (m["id"], m["sessions"]) for m in truth
    ]
