"""What the tests of payments share: a double of the provider's documented API over HTTPS, and a service that uses it."""

import base64
import itertools
import re
import threading

import pytest

from harness.mitrad import CALM
from harness.service import Service as HttpsService
from harness.wait import wait_until
from pairing.conftest import Service, impossible

SECRET_KEY = "xnd_development_of_the_suite"
CALLBACK_TOKEN = "the-callback-token-of-the-suite"
CUT = "cut"
WEBHOOK = "/public/payments/xendit/webhook"


class Xendit:
    """
    Invoices as api.xendit.co/v2 keeps them.  `fault(asked)` may return an answer in place of the right one, before or, if
    it is in `lost`, after the request has had its effect; CUT: the connection is closed instead.
    """

    def __init__(self):
        self.invoices = {}
        self.numbers = itertools.count(1)
        self.lock = threading.Lock()
        self.fault = lambda asked: None
        self.lost = lambda asked: None
        self.service = HttpsService(self.answer)
        self.url, self.ca_file = self.service.url, self.service.ca_file

    def stop(self):
        self.service.stop()

    def asked(self, method, path):
        return [a for a in self.service.asked if a.method == method and re.fullmatch(path, a.path)]

    def of(self, payment_id):
        """The only invoice of a payment."""
        found = [invoice for invoice in self.invoices.values() if invoice["external_id"] == payment_id]
        assert len(found) <= 1, "the customer was asked to pay twice"
        return found[0] if found else None

    def pay(self, payment_id, status="PAID", **more):
        """The customer pays; returns what the webhook says of it."""
        invoice = self.of(payment_id)
        invoice.update({"status": status, "paid_amount": invoice["amount"], **more})
        return {**invoice, "paid_at": "2026-05-25T10:07:55.123Z", "payment_method": "BANK_TRANSFER"}

    def pay_if_open(self, payment_id):
        """What the webhook says of it: none or one message."""
        with self.lock:
            invoice = self.of(payment_id)
            return [self.pay(payment_id)] if invoice and invoice["status"] == "PENDING" else []

    def answer(self, asked):
        assert asked.headers["authorization"] == "Basic " + base64.b64encode(f"{SECRET_KEY}:".encode()).decode()
        fault = self.fault(asked)
        if fault is not None:
            return fault
        with self.lock:
            right = self._right_answer(asked)
        lost = self.lost(asked)
        return None if lost == CUT else lost or right

    def _right_answer(self, asked):
        if asked.method == "POST" and asked.path == "/v2/invoices":
            return 200, {}, self._create(asked.json)
        if asked.method == "GET" and asked.path.startswith("/v2/invoices?external_id="):
            wanted = asked.path.partition("=")[2]
            return 200, {}, [one for one in self.invoices.values() if one["external_id"] == wanted]
        found = re.fullmatch(r"/(?:v2/)?invoices/(\w+)(/expire!)?", asked.path)
        invoice = self.invoices.get(found[1]) if found else None
        if invoice is None:
            return 404, {}, {"error_code": "INVOICE_NOT_FOUND_ERROR"}
        if found[2] and invoice["status"] == "PENDING":
            invoice["status"] = "EXPIRED"
        return 200, {}, invoice

    def _create(self, wanted):
        number = f"5f{next(self.numbers):022}"
        self.invoices[number] = {
            **wanted,
            "id": number,
            "user_id": "5f27a14a9bf05c73dd040bc8",
            "status": "PENDING",
            "merchant_name": "The suite",
            "invoice_url": f"https://checkout.example/web/{number}",
            "created": "2026-05-25T10:00:00.000Z",
        }
        return self.invoices[number]


@pytest.fixture
def xendit():
    made = Xendit()
    yield made
    made.stop()


@pytest.fixture
def settings(xendit):
    return {
        "XENDIT_SECRET_KEY": SECRET_KEY,
        "XENDIT_CALLBACK_TOKEN": CALLBACK_TOKEN,
        "XENDIT_BASE_URL": xendit.url,
        "HTTPS_CA_FILE": xendit.ca_file,
        # Whoever waited for a lock that a test holds would wait for longer than the test does.
        "DATABASE_TIMEOUT_MS": 60000,
    }


class PaidService(Service):
    """Pairing where Xendit collects."""

    def open_payment(self, session=None):
        """(session, payment): to be paid before the search, with its invoice open."""
        session = session or self.search(minutes=20)
        wait_until(lambda: self.of_customer(session).json["payment"]["url"], 20, "the invoice")
        return session, self.of_customer(session).json["payment"]

    def payment(self, session):
        return self.of_customer(session).json["payment"]

    def say(self, body, token=CALLBACK_TOKEN):
        """A webhook."""
        headers = {} if token is None else {"x-callback-token": token}
        return self.instance.post(WEBHOOK, json=body, headers=headers)

    def heard(self):
        """Waits until nothing that was said is left to be looked at."""
        open_ones = "SELECT count(*) FROM payment_webhooks WHERE processed_at IS NULL"
        wait_until(lambda: self.database.value(open_ones) == 0, 20, "all webhooks to be processed")

    def ask_now(self, payment):
        self.database.execute(
            "UPDATE payments SET next_ask_at = now() WHERE id = %s AND next_ask_at IS NOT NULL", payment["id"]
        )


def has_status(service, session, status):
    wait_until(lambda: service.status(session) == status, 30, f"the session to be {status}")


def payment_row(service, payment):
    return service.database.one("SELECT * FROM payments WHERE id = %s", payment["id"])


def asked_no_more(service, payment):
    wait_until(lambda: payment_row(service, payment)["next_ask_at"] is None, 30, "no more questions")


@pytest.fixture
def service(database, mitrad_factory, settings):
    made = PaidService(database, [mitrad_factory(arrangement=CALM, **settings)])
    made.configure(payment_timing="before_match", payment_provider="xendit", price_per_minute=500)
    return made


@pytest.fixture
def consistent(database):
    return lambda: impossible(database) == {}
