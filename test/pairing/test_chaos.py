"""
Everything at once, and workers dying of kill -9 in between: whatever was cut off in whatever moment, the truth is
possible, the mirror is equal to it, and nobody's events have a gap.
"""

import os
import random
import signal
import threading
import time

import pytest

from harness import process
from harness.wait import wait_until

SECONDS = int(os.environ.get("PAIRING_CHAOS_SECONDS", "12"))


class Chaos:
    """What the actors share.  A request may fail: its worker was killed; then nobody knows what it did."""

    def __init__(self, service, mitras, seed):
        self.service = service
        self.mitras = mitras
        self.seed = seed
        self.stop = threading.Event()
        self.unexpected = []
        self.done = {}
        self.lock = threading.Lock()

    def run(self, actor, number):
        chance = random.Random(f"{self.seed} {actor.__name__} {number}")
        while not self.stop.is_set():
            try:
                answer = actor(self, chance)
            except (OSError, ValueError):
                continue
            except Exception as error:
                # http.client has errors of its own for a connection that breaks.
                if type(error).__module__ != "http.client":
                    self.unexpected.append(repr(error))
                continue
            if answer is not None:
                with self.lock:
                    key = (actor.__name__, answer.status, answer.code)
                    self.done[key] = self.done.get(key, 0) + 1
                if answer.status >= 500 and answer.code not in ("DATABASE_UNAVAILABLE", "OVERLOADED"):
                    self.unexpected.append((actor.__name__, answer))

    def succeeded(self):
        """The names of the actors who have done something already."""
        with self.lock:
            return {actor for actor, status, _ in self.done if status < 300}

    def some_session(self, chance, *statuses):
        rows = self.service.database_of_thread().rows(
            "SELECT id, customer_id, mitra_id FROM chat_sessions WHERE status = ANY (%s)", list(statuses))
        return chance.choice(rows) if rows else None


def customer(chaos, chance):
    one = chance.choice(chaos.service.customers)
    return chaos.service.create(one, chance.choice([1, 30]))


def mitra(chaos, chance):
    one = chance.choice(chaos.mitras)
    answer = chaos.service.instance.get("/api/mitra/requests", token=one.token)
    if answer.status != 200 or not answer.json["requests"]:
        return chaos.service.instance.post("/api/mitra/status/online", token=one.token)
    session = {"id": chance.choice(answer.json["requests"])["session_id"]}
    return (chaos.service.decline if chance.random() < 0.1 else chaos.service.accept)(one, session)


def ender(chaos, chance):
    session = chaos.some_session(chance, "active", "searching", "pending_payment")
    if session is None:
        return None
    if chance.random() < 0.5:
        return chaos.service.by_operator(session, "end")
    path = f"/api/client/sessions/{session['id']}/{chance.choice(['cancel', 'end'])}"
    owner = chaos.service.customer_by_id[session["customer_id"]]
    return chaos.service.instance.post(path, token=owner.token)


def expirer(chaos, chance):
    session = chaos.some_session(chance, "active", "searching", "pending_payment")
    if session is None:
        return None
    chaos.service.database_of_thread().execute(
        """UPDATE chat_sessions SET created_at = created_at - interval '1 hour',
           matched_at = matched_at - interval '1 hour', searching_since = searching_since - interval '1 hour',
           expires_at = expires_at - interval '1 hour' WHERE id = %s""", session["id"])
    time.sleep(chance.random() / 4)
    return None


def rerouter(chaos, chance):
    session = chaos.some_session(chance, "active", "searching", "pending_payment")
    if session is None:
        return None
    return chaos.service.by_operator(session, "reroute", {"mitra_id": chance.choice(chaos.mitras).id})


def deactivator(chaos, chance):
    one = chance.choice(chaos.mitras)
    path = f"/internal/mitras/{one.id}"
    chaos.service.instance.internal.patch(path, token=chaos.service.operator, json={"is_active": False})
    time.sleep(chance.random() / 4)
    return chaos.service.instance.internal.patch(path, token=chaos.service.operator, json={"is_active": True})


def payer(chaos, chance):
    rows = chaos.service.database_of_thread().rows("SELECT id FROM payments WHERE status = 'pending'")
    if not rows:
        return chaos.service.instance.internal.patch("/internal/config", token=chaos.service.operator,
            json={"payment_timing": chance.choice(["none", "before_match", "after_match"])})
    return chaos.service.confirm(chance.choice(rows))


def killer(chaos, chance):
    """Seldom enough for workers to come back at once: a crash loop would leave little to be in the midst of."""
    time.sleep(0.7 + chance.random())
    children = chaos.service.instance.children()
    role = "sweeper" if chance.random() < 0.2 else "worker"
    if children[role]:
        process.send(chance.choice(children[role]), signal.SIGKILL)


ACTORS = {customer: 4, mitra: 6, ender: 1, expirer: 1, rerouter: 1, deactivator: 1, payer: 2, killer: 1}


@pytest.mark.deadline(600)
def test_no_race_and_no_death_leaves_an_impossible_state(two_instances, database, nothing_impossible):
    service = two_instances
    service.configure(orphan_grace_seconds=1, blast_timeout_seconds=5, no_answer_limit=2)
    mitras = service.crowd(12)
    service.customers = [service.customer() for _ in range(40)]
    service.customer_by_id = {one.id: one for one in service.customers}
    local = threading.local()

    def database_of_thread():
        if not hasattr(local, "database"):
            local.database = type(database)(database.postgres, database.name)
        return local.database

    service.database_of_thread = database_of_thread
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chaos = Chaos(service, mitras, seed)
    threads = [threading.Thread(target=chaos.run, args=(actor, number))
        for actor, count in ACTORS.items() for number in range(count)]
    everybody = {"customer", "mitra", "ender", "rerouter", "deactivator", "payer"}
    for thread in threads:
        thread.start()
    time.sleep(SECONDS)
    try:
        wait_until(lambda: everybody <= chaos.succeeded(), 120, "everybody to have had his say")
    finally:
        chaos.stop.set()
    for thread in threads:
        thread.join(60)
    print(sorted(chaos.done.items(), key=str))

    assert chaos.unexpected == []
    ends = [message for instance in service.instances for message in instance.messages(" (pid ") if " after " in message]
    assert [message for message in ends if "was ended by signal 9 " not in message] == [], "nobody died by himself"
    # Statements of the dead may still be running; then everything must be in order, and stay so.
    idle = "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND usename = 'mitrad'"
    wait_until(lambda: database.value(idle), what="the last statements to end")
    assert database.deadlocks() == []
    nothing_impossible()
    # And it goes on: whatever is open comes to its end by itself.
    service.configure(payment_timing="none", goodbye_seconds=0, payment_timeout_seconds=10)
    database.execute(
        """UPDATE chat_sessions SET created_at = created_at - interval '1 hour',
           matched_at = matched_at - interval '1 hour', searching_since = searching_since - interval '1 hour',
           expires_at = expires_at - interval '1 hour' WHERE status IN ('active', 'searching', 'pending_payment')""")
    wait_until(lambda: database.value(
        "SELECT count(*) = 0 FROM chat_sessions WHERE status IN ('active', 'searching', 'pending_payment')"),
        what="all sessions to end")
    nothing_impossible()
