"""
Storms: everything that anybody may do to the sessions under way, asked in one moment of two instances, deadlines in
that moment too, and then and again a process dies of kill -9.  After each storm the truth is possible, no answer was
a fault of ours, and who was told that he had won has won.  In the end the mirror is equal to the truth, every event was
published once, and PostgreSQL had to break no deadlock.

PAIRING_STORMS sets their number, PAIRING_SEED repeats one run's choices.
"""

import json
import os
import random
import re
import signal
import threading
from collections import Counter

import pytest

from harness import process
from harness.at_once import Ask, ask_at_once
from harness.wait import wait_until

STORMS = int(os.environ.get("PAIRING_STORMS", "12"))
SEED = int(os.environ.get("PAIRING_SEED", "0")) or random.randrange(1, 1 << 32)
MITRAS, CUSTOMERS = 30, 60


class Storm:
    """What may be asked just now, by chance."""

    def __init__(self, service, mitras, customers, chance):
        self.service = service
        self.mitras = {mitra.id: mitra for mitra in mitras}
        self.customers = {customer.id: customer for customer in customers}
        self.chance = chance
        self.asks = []

    def gather(self):
        """The requests of everybody, shuffled."""
        database = self.service.database
        self.asks = []
        for offer in database.rows("SELECT session_id, mitra_id FROM chat_request_notifications WHERE status = 'sent'"):
            self.answer_offer(offer)
        sessions = database.rows(
            """SELECT id, status, customer_id, mitra_id FROM chat_sessions
               WHERE status IN ('searching', 'pending_payment', 'active')""")
        for session in sessions:
            self.disturb(session)
        for payment in database.rows("SELECT id FROM payments WHERE status = 'pending'"):
            self.of_operator(0.7, "POST", f"/internal/payments/{payment['id']}/confirm")
        for extension in database.rows(
            """SELECT x.id, x.session_id, c.mitra_id FROM session_extensions x JOIN chat_sessions c ON c.id = x.session_id
               WHERE x.status = 'requested' AND c.mitra_id IS NOT NULL"""):
            path = f"/api/mitra/sessions/{extension['session_id']}/extensions/{extension['id']}"
            for answer in ("accept", "decline"):
                self.of(0.6, self.mitras[extension["mitra_id"]], f"{path}/{answer}")
        busy = {session["customer_id"] for session in sessions}
        for customer in self.customers.values():
            for _ in range(2 if customer.id not in busy else 0):
                self.of(0.6, customer, "/api/client/sessions", {"duration_minutes": 30})
        for mitra in self.mitras.values():
            self.toggle(mitra)
        self.of_operator(0.2, "PATCH", "/internal/config",
            {"payment_timing": self.chance.choice(["none", "before_match", "after_match"])})
        self.chance.shuffle(self.asks)
        return self.asks

    def answer_offer(self, offer):
        path = f"/api/mitra/requests/{offer['session_id']}"
        self.of(0.9, self.mitras[offer["mitra_id"]], f"{path}/accept")
        self.of(0.1, self.mitras[offer["mitra_id"]], f"{path}/decline")

    def disturb(self, session):
        customer = self.customers[session["customer_id"]]
        path = f"/api/client/sessions/{session['id']}"
        self.of(0.1, customer, f"{path}/cancel")
        self.of(0.2, customer, f"{path}/end")
        self.of(0.3, customer, f"{path}/extensions", {"minutes": 5})
        if session["mitra_id"] is not None:
            self.of(0.2, self.mitras[session["mitra_id"]], f"/api/mitra/sessions/{session['id']}/end")
        self.of_operator(0.1, "POST", f"/internal/sessions/{session['id']}/end")
        for _ in range(2):
            self.of_operator(0.05, "POST", f"/internal/sessions/{session['id']}/reroute",
                {"mitra_id": self.chance.choice(list(self.mitras))})

    def toggle(self, mitra):
        self.of(0.1, mitra, "/api/mitra/status/offline")
        self.of(0.9, mitra, "/api/mitra/status/online")
        self.of(0.3, mitra, "/api/mitra/status/heartbeat")
        for active, likely in ((False, 0.05), (True, 0.5)):
            self.of_operator(likely, "PATCH", f"/internal/mitras/{mitra.id}", {"is_active": active})

    def of(self, likely, person, path, json=None):
        if self.chance.random() < likely:
            self.asks.append(Ask(self.service.instance.public, "POST", path, person.token, json))

    def of_operator(self, likely, method, path, json=None):
        if self.chance.random() < likely:
            self.asks.append(Ask(self.service.instance.internal, method, path, self.service.operator, json))

    def pass_time(self):
        """
        Who was offered something may be offered more, and a tenth of the sessions runs out during the storm.  Sweepers are at
        work, too: what they hold is left to them, or a deadlock might be of our making.
        """
        self.service.database.execute(
            """UPDATE chat_request_notifications SET created_at = created_at - interval '1 s'
               WHERE ctid = ANY (ARRAY(SELECT ctid FROM chat_request_notifications FOR UPDATE SKIP LOCKED))""")
        self.service.database.execute(
            """UPDATE chat_sessions SET next_wave_at = now() WHERE id = ANY (ARRAY(
                   SELECT id FROM chat_sessions WHERE status = 'searching' FOR UPDATE SKIP LOCKED))""")
        self.service.database.execute(
            """UPDATE chat_sessions c SET expires_at = o.at, created_at = o.at - interval '1 hour',
                   searching_since = o.at - blast.time, matched_at = CASE WHEN matched_at IS NOT NULL THEN
                       o.at - CASE status WHEN 'active' THEN interval '1 hour' ELSE payment.time END END
               FROM (SELECT id, now() + random() * interval '300 ms' AS at FROM chat_sessions
                   WHERE status IN ('searching', 'pending_payment', 'active') AND random() < 0.1 FOR UPDATE SKIP LOCKED) o,
                   mitrad.config_seconds('blast_timeout_seconds') AS blast (time),
                   mitrad.config_seconds('payment_timeout_seconds') AS payment (time)
               WHERE c.id = o.id""")

    def kill_somebody(self):
        children = self.service.instance.children()
        killed = self.chance.choice(children["worker"] + children["sweeper"])
        timer = threading.Timer(self.chance.random() / 20, process.send, (killed, signal.SIGKILL))
        timer.start()
        return timer


def check_answers(asks, answers, killing, seen):
    for ask, answer in zip(asks, answers):
        if answer is None:
            assert killing, f"nobody answered {ask}"
            continue
        what = re.sub("/[0-9a-f-]{36}", "/{}", ask.path)
        seen[(ask.method, what, answer.status, answer.code)] += 1
        assert answer.status < 500 or (killing and answer.status == 503), (ask, answer)


def check_winners(database, asks, answers):
    """Of whoever was told that the session is his, the customer was told the same."""
    for ask, answer in zip(asks, answers):
        if answer is not None and answer.status == 200 and ask.path.startswith("/api/mitra/requests/"):
            assert database.value(
                """SELECT count(*) > 0 FROM user_events WHERE user_type = 'customer' AND session_id = %s
                   AND type = 'session_matched' AND data ->> 'mitra_id' = %s""", answer.json["id"], answer.json["mitra_id"])


class Published:
    """What comes over the channels of all users: how often each event was told."""

    def __init__(self, client):
        self.channels = client.pubsub(ignore_subscribe_messages=True)
        self.channels.psubscribe("user:*")
        self.told = Counter()

    def listen(self):
        """Takes what has come."""
        while (message := self.channels.get_message(timeout=0.01)) is not None:
            _, user_type, user = message["channel"].split(":")
            self.told[(user_type, user, json.loads(message["data"])["seq"])] += 1

    def is_all_of(self, database):
        self.listen()
        rows = database.rows("SELECT user_type, user_id, seq FROM user_events")
        return self.told.keys() == {(row["user_type"], row["user_id"], row["seq"]) for row in rows}


@pytest.mark.deadline(1200)
@pytest.mark.parametrize("kills", [False, True])
def test_after_every_storm_the_truth_is_possible(kills, two_instances, database, valkey, nothing_impossible):
    service = two_instances
    service.configure(offers_per_mitra_max=20, orphan_grace_seconds=0, goodbye_seconds=0, blast_timeout_seconds=20,
        payment_timeout_seconds=20)
    mitras = service.crowd(MITRAS)
    customers = [service.customer() for _ in range(CUSTOMERS)]
    storm = Storm(service, mitras, customers, random.Random(SEED))
    seen = Counter()
    with valkey.client() as client:
        published = Published(client)
        for number in range(STORMS):
            asks = storm.gather()
            storm.pass_time()
            killing = kills and number % 3 == 2 and storm.kill_somebody()
            answers = ask_at_once(asks)
            if killing:
                killing.join()
            check_answers(asks, answers, killing, seen)
            assert service.impossible() == {}
            check_winners(database, asks, answers)
            published.listen()
        print(f"PAIRING_SEED={SEED}: {seen.total()} answers in {STORMS} storms")
        for key, count in sorted(seen.items(), key=str):
            print(*key, count)
        nothing_impossible()
        # Who is killed between the commit and the publishing leaves events that must be fetched.
        if not kills:
            wait_until(lambda: published.is_all_of(database), what="all that was stored to be published")
    assert set(published.told.values()) == {1}, "nothing is told twice"
    assert database.deadlocks() == []
