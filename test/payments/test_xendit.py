"""A provider collects: invoices, its webhooks in any order, and what is found out by asking when they are missing."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.api import problem_of
from harness.mitrad import CALM
from harness.wait import holds_for, wait_until

from .conftest import CALLBACK_TOKEN, CUT, WEBHOOK, PaidService, has_status

INVOICES = "/v2/invoices"


# Invoices


def test_a_session_that_must_be_paid_gets_an_invoice(service, xendit):
    session, payment = service.open_payment()
    (asked,) = xendit.asked("POST", INVOICES)
    assert asked.headers["content-type"] == "application/json"
    assert asked.json.pop("invoice_duration") <= 900
    assert asked.json.items() >= {
        "external_id": payment["id"], "amount": 10000, "currency": "IDR", "description": "20 minutes"}.items()
    assert payment["url"] == xendit.of(payment["id"])["invoice_url"]
    assert (payment["status"], payment["provider"]) == ("pending", "xendit")
    ready = service.event(session["customer"], "session_payment_ready")
    assert (ready["payment_id"], ready["url"]) == (payment["id"], payment["url"])


def test_after_the_match_the_customer_gets_the_invoice(service, xendit, consistent):
    service.configure(payment_timing="after_match")
    _, session = service.pair(minutes=10)
    session, payment = service.open_payment(session)
    assert payment["amount"] == 5000
    service.say(xendit.pay(payment["id"]))
    has_status(service, session, "active")
    assert consistent()


def test_an_extension_has_an_invoice_of_its_own(service, xendit, consistent):
    service.configure(payment_timing="after_match")
    mitra, session = service.pair(minutes=10)
    session, payment = service.open_payment(session)
    service.say(xendit.pay(payment["id"]))
    has_status(service, session, "active")
    asked = service.of_customer(session, "extensions", json={"minutes": 15})
    assert asked.status == 201, asked
    extension = asked.json["extensions"][-1] if "extensions" in asked.json else asked.json
    service.instance.post(
        f"/api/mitra/sessions/{session['id']}/extensions/{extension['id']}/accept", token=mitra.token)

    def due():
        return service.of_customer(session).json["extensions"][-1]["payment"]

    wait_until(lambda: due() and due()["url"], 20, "the extension's invoice")
    assert due()["amount"] == 7500
    _, asked = xendit.asked("POST", INVOICES)
    assert asked.json["invoice_duration"] < 10 * 60 + 30, "the session does not wait for it"
    service.say(xendit.pay(due()["id"]))
    wait_until(lambda: service.of_customer(session).json["extensions"][-1]["status"] == "accepted", 20, "the extension")
    assert service.of_customer(session).json["duration_minutes"] == 25
    assert consistent()


def test_a_provider_that_is_away_is_asked_again(service, xendit):
    xendit.fault = lambda asked: (503, {}, {})
    session = service.search()
    wait_until(lambda: xendit.asked("POST", INVOICES), 20, "the first attempt")
    service.instance.wait_log("xendit could not be asked, it will be again: it answered 503")
    assert service.payment(session)["url"] is None
    xendit.fault = lambda asked: None
    service.ask_now(service.payment(session))
    service.open_payment(session)


def test_an_invoice_whose_answer_got_lost_is_not_opened_twice(service, xendit):
    xendit.lost = lambda asked: (500, {}, {}) if asked.method == "POST" else None
    session = service.search()
    wait_until(lambda: xendit.invoices, 20, "the invoice that nobody heard of")
    service.instance.wait_log("it answered 500")
    xendit.lost = lambda asked: None
    service.ask_now(service.payment(session))
    session, payment = service.open_payment(session)
    assert payment["url"] == xendit.of(payment["id"])["invoice_url"]
    assert len(xendit.asked("POST", INVOICES)) == 1


def test_a_connection_that_is_cut_after_the_request_makes_no_second_invoice(service, xendit):
    service.open_payment()  # and its connection is kept
    xendit.lost = lambda asked: CUT if asked.method == "POST" else None
    session = service.search()
    service.instance.wait_log("xendit could not be asked")
    xendit.lost = lambda asked: None
    service.ask_now(service.payment(session))
    service.open_payment(session)
    assert len(xendit.asked("POST", INVOICES)) == 2, "one for each of the two sessions"


@pytest.mark.parametrize(
    "body", ["", "null", "[]", "{}", "<html>", '{"id":"../../x","status":"PENDING"}', '{"id":"a","status":1}', "[" * 9999]
)
def test_nonsense_from_the_provider_opens_nothing(service, xendit, body):
    xendit.fault = lambda asked: (200, {}, body)
    session = service.search()
    service.instance.wait_log("xendit could not be asked")
    assert service.payment(session)["url"] is None
    xendit.fault = lambda asked: None
    service.ask_now(service.payment(session))
    service.open_payment(session)


def test_an_invoice_of_another_payment_is_not_shown(service, xendit):
    xendit.fault = lambda asked: (
        200, {}, {"id": "abc", "external_id": str(uuid.uuid4()), "status": "PENDING", "invoice_url": "https://evil.example"})
    session = service.search()
    service.instance.wait_log("an invoice is not of the payment that it came for")
    assert service.payment(session)["url"] is None


def test_an_invoice_is_closed_when_nobody_waits_for_the_money(service, xendit):
    session, payment = service.open_payment()
    service.of_customer(session, "cancel")
    wait_until(lambda: xendit.of(payment["id"])["status"] == "EXPIRED", 20, "the invoice to be closed")
    wait_until(
        lambda: service.database.value("SELECT next_ask_at IS NULL FROM payments WHERE id = %s", payment["id"]),
        20, "no more questions")


def test_a_provider_that_hangs_keeps_no_deadline_waiting(service, xendit):
    xendit.fault = lambda asked: time.sleep(8)
    for _ in range(3):
        service.search()
    wait_until(lambda: xendit.service.asked, 20, "a question under way")
    service.configure(payment_timing="none")
    session = service.search()
    service.move(session, "created_at", -61)
    began = time.monotonic()
    has_status(service, session, "unmatched")
    assert time.monotonic() - began < 5


def test_without_a_key_it_is_said_and_nothing_is_asked(database, mitrad_factory, xendit, settings):
    made = PaidService(database, [mitrad_factory(arrangement=CALM, **{**settings, "XENDIT_SECRET_KEY": None})])
    made.configure(payment_timing="before_match", payment_provider="xendit")
    made.search()
    made.instance.wait_log("XENDIT_SECRET_KEY is not set")
    assert xendit.service.asked == []


# Webhooks


@pytest.mark.parametrize("status", ["PAID", "SETTLED"])
def test_a_paid_invoice_starts_the_search(service, xendit, consistent, status):
    session, payment = service.open_payment()
    assert service.say(xendit.pay(payment["id"], status)).status == 200
    has_status(service, session, "searching")
    assert service.payment(session)["status"] == "paid"
    assert service.events(session["customer"]).count("session_paid") == 1
    assert consistent()


def test_a_webhook_is_stored_as_it_came(service, xendit, database):
    session, payment = service.open_payment()
    said = xendit.pay(payment["id"])
    service.say(said)
    service.heard()
    row = database.one("SELECT provider, external_id, body, outcome FROM payment_webhooks")
    assert row == {"provider": "xendit", "external_id": payment["id"], "body": said, "outcome": "processed"}


@pytest.mark.parametrize("token", [None, "", "wrong", CALLBACK_TOKEN[:-1], CALLBACK_TOKEN + "x", CALLBACK_TOKEN.upper()])
def test_a_wrong_token_changes_nothing(service, xendit, database, token):
    session, payment = service.open_payment()
    problem_of(service.say(xendit.pay(payment["id"]), token=token), 401, "UNAUTHENTICATED")
    assert database.value("SELECT count(*) FROM payment_webhooks") == 0
    assert service.status(session) == "pending_payment"


def test_without_a_token_no_webhook_is_taken(mitrad_factory):
    instance = mitrad_factory(arrangement=CALM)
    problem_of(instance.post(WEBHOOK, json={}, headers={"x-callback-token": ""}), 404, "NOT_FOUND")


def test_duplicates_at_once_and_later_do_no_harm(service, xendit, consistent):
    session, payment = service.open_payment()
    said = xendit.pay(payment["id"])
    with ThreadPoolExecutor(8) as pool:
        assert {answer.status for answer in pool.map(lambda _: service.say(said), range(24))} == {200}
    service.heard()
    assert service.say({**said, "status": "SETTLED"}).status == 200
    service.heard()
    assert service.events(session["customer"]).count("session_paid") == 1
    assert service.payment(session)["status"] == "paid"
    assert service.database.value("SELECT count(*) FROM payment_webhooks WHERE outcome = 'processed'") == 25
    assert consistent()


def test_the_order_of_webhooks_does_not_matter(service, xendit, consistent):
    session, payment = service.open_payment()
    paid = xendit.pay(payment["id"])
    for status in ("SETTLED", "EXPIRED", "PAID", "PENDING"):
        service.say({**paid, "status": status})
    service.heard()
    assert service.payment(session)["status"] == "paid" and service.status(session) == "searching"
    other, payment = service.open_payment()
    paid = xendit.pay(payment["id"])
    service.say({**paid, "status": "EXPIRED"})
    service.heard()
    service.say(paid)
    service.heard()
    assert service.payment(other)["status"] == "paid" and service.status(other) == "searching"
    assert consistent()


def test_a_webhook_that_comes_before_we_know_the_invoice_counts(service, xendit):
    xendit.lost = lambda asked: (500, {}, {}) if asked.method == "POST" else None
    session = service.search()
    wait_until(lambda: xendit.invoices, 20, "the invoice that nobody heard of")
    service.say(xendit.pay(service.payment(session)["id"]))
    has_status(service, session, "searching")


@pytest.mark.parametrize(
    "wrong", [{"paid_amount": 9999}, {"amount": 9999}, {"amount": "10000"}, {"currency": "USD"}, {"currency": None}, {"amount": 1e99}]
)
def test_another_amount_or_currency_does_not_count_as_paid(service, xendit, consistent, wrong):
    session, payment = service.open_payment()
    service.say({**xendit.pay(payment["id"]), **wrong})
    service.heard()
    assert service.payment(session)["status"] == "refund_due"
    assert service.status(session) == "pending_payment"
    line = service.instance.wait_log("another amount was paid than was asked for")
    assert (line["severity"], line["payment_id"]) == ("WARNING", payment["id"])


def test_an_amount_with_decimals_that_are_zero_is_the_same(service, xendit):
    session, payment = service.open_payment()
    service.say({**xendit.pay(payment["id"]), "amount": 10000.0, "paid_amount": 10000.0})
    has_status(service, session, "searching")


def test_money_that_comes_too_late_is_due_to_be_given_back(service, xendit, consistent):
    session, payment = service.open_payment()
    said = xendit.pay(payment["id"])
    service.of_customer(session, "cancel")
    for _ in range(2):
        service.say(said)
        service.heard()
    assert service.payment(session)["status"] == "refund_due"
    assert service.status(session) == "cancelled"
    assert service.instance.wait_log("money has come too late")["severity"] == "WARNING"
    problem_of(service.confirm(payment), 409, "PAYMENT_CLOSED")
    assert consistent()


def test_a_second_invoice_that_was_paid_is_told(service, xendit):
    session, payment = service.open_payment()
    said = xendit.pay(payment["id"])
    service.say(said)
    service.say({**said, "id": "another"})
    service.heard()
    service.instance.wait_log("two invoices of one payment were paid")
    assert service.payment(session)["status"] == "paid"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"external_id": 7},
        {"external_id": "invoice_123124123", "status": "PAID", "id": "x"},
        {"external_id": str(uuid.uuid4()), "status": "PAID", "id": "x"},
        {"external_id": "x" * 60000},
        {"id": {"a": [1, 2]}, "status": ["PAID"], "external_id": None},
    ],
)
def test_what_is_of_no_payment_is_kept_and_answered_well(service, xendit, body):
    assert service.say(body).status == 200
    service.heard()
    session, payment = service.open_payment()
    service.say(xendit.pay(payment["id"]))
    has_status(service, session, "searching")


def test_what_is_no_object_is_refused(service):
    for body in ("", "[]", "nonsense", "7"):
        answer = service.instance.post(
            WEBHOOK, body=body, headers={"x-callback-token": CALLBACK_TOKEN, "Content-Type": "application/json"})
        assert answer.status == 400


def test_a_webhook_that_came_while_no_sweeper_was_there_is_taken_up(service, xendit, mitrad_factory, settings):
    session, payment = service.open_payment()
    said = xendit.pay(payment["id"])
    service.instance.kill()
    service.database.execute("UPDATE payments SET next_ask_at = NULL")
    service.database.value("SELECT mitrad.webhook_store('xendit', %s::jsonb)", __import__("json").dumps(said))
    mitrad_factory(arrangement=CALM, **settings)
    assert service.status(session) == "searching", "before anybody is served"


def test_without_valkey_payments_still_come_through(service, xendit, valkey):
    session, payment = service.open_payment()
    valkey.stop()
    service.say(xendit.pay(payment["id"]))
    has_status(service, session, "searching")


# Reconciliation


def test_a_payment_whose_webhook_never_came_is_found_by_asking(service, xendit, consistent):
    session, payment = service.open_payment()
    xendit.pay(payment["id"])
    service.ask_now(payment)
    has_status(service, session, "searching")
    assert xendit.asked("GET", r"/v2/invoices/\w+")
    assert consistent()


def test_late_money_is_found_by_asking_too(service, xendit):
    session, payment = service.open_payment()
    xendit.pay(payment["id"])
    service.of_customer(session, "cancel")
    wait_until(lambda: service.payment(session)["status"] == "refund_due", 20, "the late money")


def test_an_open_payment_is_asked_about_more_and_more_rarely(service, xendit, database):
    session, payment = service.open_payment()
    pauses = []
    for number in range(1, 6):
        asked = database.one("SELECT asked, next_ask_at - now() AS pause FROM payments WHERE id = %s", payment["id"])
        assert asked["asked"] == number
        pauses.append(asked["pause"].total_seconds())
        service.ask_now(payment)
        wait_until(
            lambda: database.value("SELECT asked FROM payments WHERE id = %s", payment["id"]) == number + 1, 20, "it")
    assert [round(pause / 15 + 0.3) for pause in pauses] == [1, 2, 4, 8, 16]
    database.execute("UPDATE payments SET asked = 40, next_ask_at = now()")
    wait_until(lambda: database.value("SELECT next_ask_at IS NULL FROM payments"), 20, "the end of it")


def test_many_open_payments_are_asked_about_a_few_at_a_time(service, xendit):
    under_way, most, lock = set(), [0], __import__("threading").Lock()

    def slowly(asked):
        with lock:
            under_way.add(id(asked))
            most[0] = max(most[0], len(under_way))
        time.sleep(0.1)
        with lock:
            under_way.discard(id(asked))

    xendit.fault = slowly
    sessions = [service.search() for _ in range(40)]
    for session in sessions:
        service.open_payment(session)
    assert most[0] <= 16 and len(xendit.invoices) == 40


def test_two_sweepers_ask_about_a_payment_once(database, mitrad_factory, settings, xendit):
    made = PaidService(database, [mitrad_factory(arrangement=CALM, **settings) for _ in range(2)])
    made.configure(payment_timing="before_match", payment_provider="xendit", price_per_minute=500)
    for session in [made.search() for _ in range(20)]:
        made.open_payment(session)
    assert len(xendit.asked("POST", INVOICES)) == 20
    holds_for(lambda: len(xendit.invoices) == 20, 2)


# Old things


def test_old_events_and_messages_are_deleted(service, xendit, database):
    session, payment = service.open_payment()
    service.say(xendit.pay(payment["id"]))
    service.heard()
    database.execute("UPDATE user_events SET at = now() - interval '8 days'")
    database.execute("UPDATE payment_webhooks SET received_at = now() - interval '91 days'")
    young = service.search()
    # The sweeper may have looked already, for the next ten minutes.  Its successor does as soon as the lease of the dead is over.
    service.instance.kill_sweeper()
    wait_until(lambda: database.value("SELECT count(*) FROM payment_webhooks") == 0, 60, "the messages to go")
    old = "SELECT count(*) FROM user_events WHERE at < now() - interval '7 days'"
    wait_until(lambda: database.value(old) == 0, 30, "the events to go")
    left = database.rows("SELECT DISTINCT user_id FROM user_events")
    assert [row["user_id"] for row in left] == [young["customer"].id]
