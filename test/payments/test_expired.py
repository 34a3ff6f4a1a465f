"""A webhook says that an invoice has expired: the provider is asked at once, and his answer decides."""

import pytest

from harness.wait import wait_until

from .conftest import asked_no_more, has_status, payment_row

LOOK = r"/v2/invoices/\w+"
AWAY = (503, {}, {})


@pytest.fixture
def open_payment(service, database):
    """(session, payment): its invoice is open, and it would not be asked about for an hour."""

    def open_one():
        session, payment = service.open_payment()
        ask_in_an_hour(database)
        return session, payment

    return open_one


def ask_in_an_hour(database):
    database.execute("UPDATE payments SET next_ask_at = now() + interval '1 hour' WHERE next_ask_at IS NOT NULL")


def say_expired(service, xendit, payment, **more):
    service.say({**xendit.of(payment["id"]), "status": "EXPIRED", **more})
    service.heard()


def test_money_that_contradicts_the_message_is_found_at_once(service, xendit, open_payment, consistent):
    session, payment = open_payment()
    xendit.pay(payment["id"])
    say_expired(service, xendit, payment)
    has_status(service, session, "searching")
    assert service.payment(session)["status"] == "paid"
    assert service.events(session["customer"]).count("session_paid") == 1
    assert consistent()


def test_money_of_a_session_that_has_ended_is_found_at_once_and_due_to_be_given_back(
    service, xendit, database, open_payment, consistent
):
    session, payment = open_payment()
    xendit.fault = lambda asked: AWAY
    service.of_customer(session, "cancel")
    wait_until(lambda: payment_row(service, payment)["asked"] == 1, 20, "the question in vain")
    service.instance.wait_log("it answered 503")
    ask_in_an_hour(database)
    xendit.pay(payment["id"])
    xendit.fault = lambda asked: None
    say_expired(service, xendit, payment)
    wait_until(lambda: service.payment(session)["status"] == "refund_due", 20, "the late money")
    assert payment_row(service, payment)["paid_amount"] == payment["amount"]
    assert consistent()


def test_what_the_provider_confirms_is_asked_about_no_more(service, xendit, open_payment, consistent):
    session, payment = open_payment()
    xendit.of(payment["id"])["status"] = "EXPIRED"
    say_expired(service, xendit, payment)
    asked_no_more(service, payment)
    assert len(xendit.asked("GET", LOOK)) == 1
    say_expired(service, xendit, payment)
    assert payment_row(service, payment)["next_ask_at"] is None, "it has answered that"
    service.move(session, "created_at", -901)
    has_status(service, session, "cancelled")
    assert (service.payment(session)["status"], len(xendit.asked("GET", LOOK))) == ("expired", 1)
    assert consistent()


def test_an_invoice_that_is_open_after_all_can_still_be_paid(service, xendit, open_payment):
    session, payment = open_payment()
    say_expired(service, xendit, payment)
    wait_until(lambda: xendit.asked("GET", LOOK), 20, "the question")
    assert payment_row(service, payment)["next_ask_at"] is not None
    service.say(xendit.pay(payment["id"]))
    has_status(service, session, "searching")


def test_while_the_provider_is_away_the_session_ends_in_time_and_the_invoice_after_it(service, xendit, open_payment):
    session, payment = open_payment()
    xendit.fault = lambda asked: AWAY
    for number in range(1, 4):
        say_expired(service, xendit, payment)
        wait_until(lambda: len(xendit.asked("GET", LOOK)) == number, 20, "the question in vain")
    assert payment_row(service, payment)["asked"] == 2, "however often it is said, there will be enough questions"
    service.move(session, "created_at", -901)
    has_status(service, session, "cancelled")
    assert service.payment(session)["status"] == "expired"
    xendit.fault = lambda asked: None
    service.ask_now(payment)
    asked_no_more(service, payment)
    assert xendit.of(payment["id"])["status"] == "EXPIRED"


def test_what_was_paid_stays_paid_and_nothing_is_asked(service, xendit, open_payment):
    session, payment = open_payment()
    service.say(xendit.pay(payment["id"]))
    has_status(service, session, "searching")
    say_expired(service, xendit, payment)
    row = payment_row(service, payment)
    assert (row["status"], row["next_ask_at"]) == ("paid", None)
    assert xendit.asked("GET", LOOK) == []


def test_word_of_another_invoice_hurries_nothing(service, xendit, open_payment):
    session, payment = open_payment()
    former = payment_row(service, payment)
    say_expired(service, xendit, payment, id="another")
    assert payment_row(service, payment) == former
    assert service.status(session) == "pending_payment"
