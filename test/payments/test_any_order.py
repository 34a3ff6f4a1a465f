"""
Customers pay, give up and are late, operators confirm, the provider errs, its messages come in any order, twice or never, and
sweepers are killed, all at random moments: in the end each invoice is paid or closed, and no money is unaccounted for.
"""

import random
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.mitrad import CALM
from harness.wait import wait_until

from .conftest import CUT, PaidService
from .test_mishaps import ask_again_after_death

STEPS = ["pay"] * 4 + ["say"] * 6 + ["say expired"] + ["ask"] * 4 + ["cancel", "confirm", "run out"]


class Mishaps:
    """What happens to a session and its payment."""

    def __init__(self, service, xendit, dice):
        self.service, self.xendit, self.dice = service, xendit, dice
        self.said = []

    def live_through(self, session):
        for _ in range(20):
            time.sleep(self.dice.random() / 2)
            self.step(self.dice.choice(STEPS), session)

    def step(self, what, session):
        payment, database = session["payment"]["id"], self.service.database
        if what == "pay":
            self.said += self.xendit.pay_if_open(payment)
        elif what.startswith("say") and self.said:
            message = self.dice.choice(self.said)
            self.service.say({**message, "status": "EXPIRED"} if what == "say expired" else message)
        elif what == "ask":
            # Not while its invoice may be under way: no pause is that short.
            database.execute(
                "UPDATE payments SET next_ask_at = now() WHERE id = %s AND external_id IS NOT NULL AND next_ask_at > now()",
                payment)
        elif what == "cancel":
            self.service.of_customer(session, "cancel")
        elif what == "confirm":
            self.service.confirm(session["payment"])
        elif what == "run out":
            self.service.move(session, "created_at", -901)


def settle(service, sessions):
    """Nobody waits for money any more, and the provider has said all that there is to say."""
    unknown = "SELECT count(*) FROM payments WHERE status = 'pending' AND external_id IS NULL"
    wait_until(lambda: service.database.value(unknown) == 0, 60, "all invoices to be known")
    for session in sessions:
        service.of_customer(session, "cancel")

    def nothing_is_left():
        service.database.execute(
            "UPDATE payments SET next_ask_at = now() WHERE next_ask_at > now() + interval '1 second'")
        return service.database.value(
            "SELECT NOT EXISTS (SELECT FROM payments WHERE next_ask_at IS NOT NULL)"
            " AND NOT EXISTS (SELECT FROM payment_webhooks WHERE processed_at IS NULL)")

    wait_until(nothing_is_left, 60, "all payments to be settled")


@pytest.mark.parametrize("seed", [1, 2])
def test_in_the_end_all_money_is_accounted_for(database, mitrad_factory, settings, xendit, consistent, seed):
    service = PaidService(database, [mitrad_factory(arrangement=CALM, **settings) for _ in range(2)])
    service.configure(payment_timing="before_match", payment_provider="xendit", price_per_minute=500)
    dice = random.Random(seed)
    errors = [(500, {}, {}), (200, {}, "{")]
    xendit.fault = lambda asked: dice.choice([None] * 6 + errors)
    xendit.lost = lambda asked: dice.choice([None] * 6 + [*errors, CUT])
    sessions = [service.search() for _ in range(25)]
    mishaps = Mishaps(service, xendit, dice)
    with ThreadPoolExecutor(len(sessions)) as pool:
        lives = [pool.submit(mishaps.live_through, session) for session in sessions]
        while not all(life.done() for life in lives):
            time.sleep(dice.random())
            dice.choice(service.instances).kill_sweeper()
    for life in lives:
        life.result()
    xendit.fault = xendit.lost = lambda asked: None
    ask_again_after_death(service, xendit)
    settle(service, sessions)

    rows = database.rows(
        "SELECT p.id::text, p.status, p.external_id, p.paid_amount, c.started_at, c.status AS session"
        " FROM payments p JOIN chat_sessions c ON c.id = p.session_id")
    assert len(rows) == len(sessions)
    for row in rows:
        invoice = xendit.of(row["id"])
        assert (invoice and invoice["id"]) == row["external_id"] or invoice["status"] == "EXPIRED", row
        assert (invoice and invoice.get("paid_amount")) == row["paid_amount"], row
        assert invoice is None or invoice["status"] in ("PAID", "EXPIRED"), row
        assert row["status"] in (["refund_due"] if row["paid_amount"] else ["refund_due", "cancelled", "expired"]), row
    assert consistent()
