"""Money and mishaps: whatever dies, gets lost or happens at once, nobody is asked to pay twice and no money is forgotten."""

import json
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import process, tokens
from harness.mitrad import CALM
from harness.wait import wait_until

from .conftest import CUT, PaidService, asked_no_more, has_status, payment_row

INVOICES = "/v2/invoices"


def is_closed(xendit, payment):
    wait_until(lambda: xendit.of(payment["id"])["status"] == "EXPIRED", 30, "the invoice to be closed")


def confirmations(service):
    return service.database.value("SELECT count(*) FROM operator_actions WHERE action = 'payment.confirm'")


class Held:
    """The provider's POST waits, or what else `method` says, before or after its effect, until released."""

    def __init__(self):
        self.method = "POST"
        self.arrived, self.released = threading.Event(), threading.Event()

    def __call__(self, asked):
        if asked.method == self.method and asked.path.startswith(INVOICES):
            self.arrived.set()
            assert self.released.wait(60)


@pytest.fixture
def held():
    made = Held()
    yield made
    made.released.set()


# An invoice that is being made


def test_a_sweeper_that_dies_before_it_hears_of_the_invoice_makes_no_second_one(service, xendit, held):
    xendit.lost = held
    session = service.search()
    assert held.arrived.wait(20)
    service.instance.kill_sweeper()
    held.released.set()
    service.ask_now(service.payment(session))
    session, payment = service.open_payment(session)
    assert payment["url"] == xendit.of(payment["id"])["invoice_url"]
    assert len(xendit.asked("POST", INVOICES)) == 1


def test_money_that_comes_before_the_answer_that_made_the_invoice_counts(service, xendit, held, consistent):
    xendit.lost = held
    session = service.search()
    assert held.arrived.wait(20)
    payment = service.payment(session)
    assert service.say(xendit.pay(payment["id"])).status == 200
    has_status(service, session, "searching")
    xendit.invoices[next(iter(xendit.invoices))]["status"] = "PENDING"  # as it was when the answer was written
    held.released.set()
    asked_no_more(service, payment)
    assert service.payment(session)["status"] == "paid"
    assert service.events(session["customer"]).count("session_payment_ready") == 0
    assert consistent()


def test_an_invoice_of_a_session_that_was_cancelled_meanwhile_is_closed(service, xendit, held):
    xendit.fault = held
    session = service.search()
    assert held.arrived.wait(20)
    service.of_customer(session, "cancel")
    wait_until(lambda: xendit.asked("GET", r"/v2/invoices\?external_id=.*"), 20, "the look for it, in vain")
    held.released.set()
    payment = service.payment(session)
    wait_until(lambda: xendit.of(payment["id"]), 20, "the invoice")
    is_closed(xendit, payment)
    asked_no_more(service, payment)
    assert service.events(session["customer"]).count("session_payment_ready") == 0


def test_it_is_closed_even_if_nobody_heard_of_it(service, xendit, held):
    """The first look for it came too early, and who made it died."""
    xendit.fault = held
    session = service.search()
    assert held.arrived.wait(20)
    service.of_customer(session, "cancel")
    payment = service.payment(session)
    wait_until(lambda: xendit.asked("GET", r"/v2/invoices\?external_id=.*"), 20, "the look for it, in vain")
    service.instance.kill_sweeper()
    held.released.set()
    wait_until(lambda: xendit.of(payment["id"]), 20, "the invoice")
    service.ask_now(payment)
    is_closed(xendit, payment)
    asked_no_more(service, payment)


def ask_again_after_death(service, xendit):
    """
    All sweepers die at once, and whatever they had left open is asked about anew, as if the pause were over: once the
    provider has done with what they sent, and PostgreSQL, too.
    """
    sweepers = [pid for instance in service.instances for pid in instance.children()["sweeper"]]
    for pid in sweepers:
        process.send(pid, signal.SIGSTOP)
    theirs = set(xendit.service.connections)
    service.database.break_connections()  # a claim on its way would be carried out after we have looked
    left = service.database.rows("SELECT id, asked FROM payments WHERE asked > 0 AND external_id IS NULL")
    for pid in sweepers:
        process.send(pid, signal.SIGKILL)
    wait_until(lambda: not theirs & xendit.service.connections, 30, "the provider to have done")
    for row in left:
        service.database.execute(
            "UPDATE payments SET next_ask_at = now() WHERE id = %s AND asked = %s", row["id"], row["asked"])
    for instance in service.instances:
        instance.wait_successor(sweepers)


@pytest.mark.parametrize("instances", [1, 2])
def test_any_mishaps_make_one_invoice_for_each_payment(database, mitrad_factory, settings, xendit, instances):
    made = PaidService(database, [mitrad_factory(arrangement=CALM, **settings) for _ in range(instances)])
    made.configure(payment_timing="before_match", payment_provider="xendit", price_per_minute=500)
    dice = random.Random(7)
    mishaps = [(500, {}, {}), (200, {}, "{"), (429, {}, {"error_code": "RATE_LIMIT_EXCEEDED"})]
    xendit.fault = lambda asked: dice.choice([None, None, None, *mishaps])
    xendit.lost = lambda asked: dice.choice([None, None, CUT, *mishaps])
    sessions = [made.search() for _ in range(25)]
    for _ in range(4):
        ask_again_after_death(made, xendit)
    xendit.fault = xendit.lost = lambda asked: None
    ask_again_after_death(made, xendit)
    unknown = "SELECT count(*) FROM payments WHERE external_id IS NULL"
    wait_until(lambda: database.value(unknown) == 0, 90, "all invoices to be known")
    assert all(xendit.of(made.payment(session)["id"]) for session in sessions) and len(xendit.invoices) == 25


# What was paid is not lost


@pytest.mark.parametrize("end", ["unmatched", "cancelled"])
@pytest.mark.parametrize("provider", ["xendit", "manual"])
def test_who_paid_and_found_nobody_gets_his_money_back(service, xendit, consistent, provider, end):
    service.configure(payment_provider=provider)
    session = service.search(minutes=20)
    if provider == "xendit":
        service.open_payment(session)
        service.say(xendit.pay(service.payment(session)["id"]))
    else:
        assert service.confirm(service.payment(session)).status == 200
    has_status(service, session, "searching")
    if end == "cancelled":
        service.of_customer(session, "cancel")
    else:
        service.move(session, "searching_since", -61)
    has_status(service, session, end)
    assert service.payment(session)["status"] == "refund_due"
    wait_until(lambda: service.instance.metric("mitrad_payments_to_refund") == 1, 20, "the metric to say so")
    assert consistent()


def test_who_had_a_part_of_it_does_not(service, xendit):
    service.configure(payment_timing="after_match")
    mitra, session = service.pair(minutes=10)
    session, payment = service.open_payment(session)
    service.say(xendit.pay(payment["id"]))
    has_status(service, session, "active")
    service.of_mitra(mitra, session, "end")
    assert (service.status(session), service.payment(session)["status"]) == ("ended", "paid")


def test_money_that_was_told_in_time_saves_the_session_from_its_deadline(service, xendit, mitrad_factory, settings):
    session, payment = service.open_payment()
    said = xendit.pay(payment["id"])
    service.instance.kill()
    service.database.value("SELECT mitrad.webhook_store('xendit', %s::jsonb)", json.dumps(said))
    service.move(session, "created_at", -901)
    mitrad_factory(arrangement=CALM, **settings)
    has_status(service, session, "searching")


@pytest.mark.parametrize("held_row", ["chat_sessions", "payments"])
@pytest.mark.parametrize("how", ["told", "found"])
def test_while_somebody_holds_a_session_only_its_own_money_waits(
        service, xendit, database, held, how, held_row):
    session, payment = service.open_payment()
    other, other_payment = service.open_payment()
    said = xendit.pay(payment["id"])
    if how == "found":
        held.method, xendit.fault = "GET", held
        service.ask_now(payment)
        assert held.arrived.wait(20)
    row = {"chat_sessions": session, "payments": payment}[held_row]["id"]
    with database.holding(f"SELECT FROM {held_row} WHERE id = %s FOR UPDATE", row):
        held.released.set()
        if how == "told":
            service.say(said)
        service.say(xendit.pay(other_payment["id"]))
        has_status(service, other, "searching")
        service.move(other, "searching_since", -61)
        has_status(service, other, "unmatched")
        assert service.status(session) == "pending_payment"
    has_status(service, session, "searching")
    service.heard()
    assert database.rows("SELECT DISTINCT outcome FROM payment_webhooks") == [{"outcome": "processed"}]


def test_a_second_invoice_that_was_paid_is_noted_once(service, xendit, database):
    session, payment = service.open_payment()
    said = xendit.pay(payment["id"])
    service.say(said)
    has_status(service, session, "searching")
    for _ in range(3):
        service.say({**said, "id": "another"})
    service.heard()
    assert service.payment(session)["id"] == payment["id"] and service.payment(session)["status"] == "paid"
    noted = database.rows("SELECT status, external_id, paid_amount FROM payments WHERE id <> %s", payment["id"])
    assert noted == [{"status": "refund_due", "external_id": "another", "paid_amount": payment["amount"]}]
    service.instance.wait_log("two invoices of one payment were paid")
    assert service.instance.log_text().count("two invoices of one payment were paid") == 1


# An operator helps


@pytest.mark.parametrize("role", ["admin", "agent"])
def test_an_operator_confirms_what_the_provider_would_collect_and_its_invoice_is_closed(service, xendit, role, consistent):
    session, payment = service.open_payment()
    service.operator = tokens.mint("operator", role=role)
    assert service.confirm(payment).json["status"] == "paid"
    has_status(service, session, "searching")
    is_closed(xendit, payment)
    asked_no_more(service, payment)
    assert service.payment(session)["status"] == "paid"
    assert consistent()


def test_the_invoice_of_what_an_operator_confirmed_is_closed_even_if_the_session_is_given_up(service, xendit):
    session, payment = service.open_payment()
    xendit.fault = lambda asked: (503, {}, {})
    service.confirm(payment)
    has_status(service, session, "searching")
    service.instance.wait_log("it answered 503")
    service.of_customer(session, "cancel")
    assert service.payment(session)["status"] == "refund_due"
    xendit.fault = lambda asked: None
    service.ask_now(payment)
    is_closed(xendit, payment)
    asked_no_more(service, payment)


def test_money_that_an_operator_saw_before_the_provider_told_of_it_is_the_same(service, xendit):
    session, payment = service.open_payment()
    said = xendit.pay(payment["id"])
    service.confirm(payment)
    service.say(said)
    service.heard()
    asked_no_more(service, payment)
    row = payment_row(service, payment)
    assert (row["status"], row["paid_amount"]) == ("paid", payment["amount"])
    assert service.database.value("SELECT count(*) FROM payments") == 1
    assert service.events(session["customer"]).count("session_paid") == 1
    assert "must be given back" not in service.instance.log_text()


def test_two_who_confirm_at_once_are_one_confirmation(service):
    service.configure(payment_provider="manual")
    for number in range(1, 11):
        payment = service.search()["payment"]
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: service.confirm(payment), range(4)))
        assert {(answer.status, answer.json["status"]) for answer in answers} == {(200, "paid")}
        assert confirmations(service) == number
