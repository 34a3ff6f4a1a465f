"""How a code gets to a phone: the webhook, Fazpass, and what happens when neither answers."""

import hashlib
import hmac
import itertools
import os
import threading
import time
import uuid

import pytest

from harness import program
from harness.api import problem_of
from harness.mitrad import CALM
from harness.service import Service
from harness.wait import wait_until

SECRET = "the-webhook-secret-of-the-suite"
MERCHANT, GATEWAY = "the-merchant-key-of-the-suite", "the-gateway-key-of-the-suite"
DOORS = {"customer": "/api/client/auth/otp", "mitra": "/api/mitra/auth/otp"}
SYSTEM_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_numbers = itertools.count(1)


def new_phone():
    return f"+62816{next(_numbers):08}"


@pytest.fixture(scope="module")
def database(database):
    database.execute("UPDATE app_config SET value = '100000' WHERE key LIKE 'rate_%' OR key = 'otp_per_address_hour'")
    return database


@pytest.fixture
def service():
    """A Service that answers 200 {} until the test says otherwise."""
    made = Service(lambda asked: (200, {}, {}))
    yield made
    made.stop()


@pytest.fixture
def webhook(mitrad_factory, service):
    return mitrad_factory(
        arrangement=CALM,
        OTP_SENDER="webhook",
        OTP_WEBHOOK_URL=f"{service.url}/codes",
        OTP_WEBHOOK_SECRET=SECRET,
        HTTPS_CA_FILE=service.ca_file,
    )


@pytest.fixture
def fazpass(mitrad_factory, service):
    return mitrad_factory(
        arrangement=CALM,
        OTP_SENDER="fazpass",
        FAZPASS_BASE_URL=service.url,
        FAZPASS_MERCHANT_KEY=MERCHANT,
        FAZPASS_GATEWAY_KEY=GATEWAY,
        HTTPS_CA_FILE=service.ca_file,
    )


def request(mitrad, phone, door="customer"):
    answer = mitrad.post(DOORS[door] + "/request", json={"phone": phone})
    assert answer.status == 202, answer
    return answer.json["otp_request_id"]


def verify(mitrad, otp_request_id, code, door="customer"):
    return mitrad.post(DOORS[door] + "/verify", json={"otp_request_id": otp_request_id, "code": code})


# The webhook


def test_the_webhook_gets_the_code_signed(webhook, service, until):
    phone = new_phone()
    otp_request_id = request(webhook, phone)
    until(lambda: service.asked)
    asked = service.asked[0]
    assert (asked.method, asked.path, asked.headers["content-type"]) == ("POST", "/codes", "application/json")
    code = asked.json["code"]
    assert asked.json == {
        **{"otp_request_id": otp_request_id, "user_type": "customer", "phone": phone},
        **{"code": code, "expires_in_seconds": 300},
    }
    stamp = asked.headers["x-mitrad-timestamp"]
    assert abs(int(stamp) - time.time()) < 60
    signature = hmac.new(SECRET.encode(), f"{stamp}.{asked.body}".encode(), hashlib.sha256).hexdigest()
    assert asked.headers["x-mitrad-signature"] == f"v1={signature}"
    assert verify(webhook, otp_request_id, code).status == 200


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_the_webhook_is_tried_three_times(webhook, service, until, status):
    service.answer = lambda asked: (status, {}, "")
    request(webhook, new_phone())
    webhook.wait_log("a code was not sent by webhook")
    assert len(service.asked) == 3
    assert len({asked.body for asked in service.asked}) == 1


def test_the_second_attempt_may_succeed(webhook, service, until):
    service.answer = lambda asked: (200 if len(service.asked) > 1 else 502, {}, "")
    otp_request_id = request(webhook, new_phone())
    until(lambda: len(service.asked) == 2)
    assert verify(webhook, otp_request_id, service.asked[1].json["code"]).status == 200


@pytest.mark.parametrize("status", [400, 401, 404, 301])
def test_a_webhook_that_refuses_is_not_asked_again(webhook, service, status):
    service.answer = lambda asked: (status, {"Location": f"{service.url}/elsewhere"}, "")
    request(webhook, new_phone())
    webhook.wait_log("a code was not sent by webhook")
    assert [asked.path for asked in service.asked] == ["/codes"]


def test_nobody_waits_for_the_webhook(webhook, service, make_mitra, until):
    release = threading.Event()

    def slow(_asked):
        release.wait(30)
        return 200, {}, {}

    service.answer = slow
    began = time.monotonic()
    request(webhook, make_mitra().phone, "mitra")
    request(webhook, new_phone(), "mitra")
    # The webhook is not released before this is known.
    assert time.monotonic() - began < 5
    until(lambda: len(service.asked) == 1)
    release.set()


def test_a_graceful_stop_waits_for_codes_on_their_way(webhook, service, until):
    arrived, release = threading.Event(), threading.Event()

    def slow(_asked):
        arrived.set()
        release.wait(30)
        return 200, {}, {}

    service.answer = slow
    request(webhook, new_phone())
    assert arrived.wait(30)
    stopping = threading.Thread(target=webhook.stop)
    stopping.start()
    release.set()
    stopping.join(30)
    assert webhook.messages("was not sent") == []


def test_a_webhook_that_is_away_fails_in_the_log_only(mitrad_factory, service):
    service.stop()
    mitrad = mitrad_factory(
        arrangement=CALM,
        OTP_SENDER="webhook",
        OTP_WEBHOOK_URL=f"{service.url}/codes",
        OTP_WEBHOOK_SECRET=SECRET,
        HTTPS_CA_FILE=service.ca_file,
    )
    service.stop = lambda: None
    request(mitrad, new_phone())
    mitrad.wait_log("a code was not sent by webhook")


def bytes_read(pid):
    with open(f"/proc/{pid}/io", encoding="ascii") as counts:
        return next(int(line.split()[1]) for line in counts if line.startswith("rchar"))


def test_the_systems_certificates_are_not_read_for_every_connection(mitrad_factory, service):
    """Reading all of them takes as long as hundreds of heartbeats, and is done in the event loop."""
    if not os.path.exists(SYSTEM_CERTIFICATES):
        pytest.skip("this system has no certificates")
    mitrad = mitrad_factory(
        arrangement=CALM,
        **{"WORKERS": 1, "OTP_SENDER": "webhook", "OTP_WEBHOOK_URL": service.url, "OTP_WEBHOOK_SECRET": SECRET},
    )
    (worker,) = mitrad.children()["worker"]
    request(mitrad, new_phone())
    mitrad.wait_log("a code was not sent by webhook")
    before = bytes_read(worker)
    for _ in range(3):
        request(mitrad, new_phone())
    wait_until(lambda: len(mitrad.messages("a code was not sent by webhook")) == 4, what="the others to fail too")
    assert bytes_read(worker) - before < os.path.getsize(SYSTEM_CERTIFICATES)
    assert service.asked == []


# Fazpass


class Fazpass:
    """Its part: makes the code 246810 for everybody."""

    def __init__(self, service):
        self.service = service
        self.references = {}
        service.answer = self.answer

    def answer(self, asked):
        assert asked.headers["authorization"] == f"Bearer {MERCHANT}"
        if asked.path == "/v1/otp/request":
            assert asked.json["gateway_key"] == GATEWAY
            reference = str(uuid.uuid4())
            self.references[reference] = asked.json["phone"]
            data = {"id": reference, "otp": "XXXXXX", "otp_length": 6, "channel": "WA"}
            return 200, {}, {"status": True, "message": "Request generated successfully", "data": data}
        assert asked.path == "/v1/otp/verify"
        right = asked.json["otp_id"] in self.references and asked.json["otp"] == "246810"
        return (200 if right else 406), {}, {"status": right, "message": "…"}

    def paths(self):
        return [asked.path for asked in self.service.asked]


@pytest.fixture
def their(service):
    return Fazpass(service)


@pytest.fixture
def requested(fazpass, their, database, until):
    """requested(phone, door): a code that has been sent, and whose reference is known."""

    def make(phone, door="customer"):
        otp_request_id = request(fazpass, phone, door)
        known = "SELECT provider_reference FROM otp_requests WHERE id = %s"
        until(lambda: database.value(known, otp_request_id))
        return otp_request_id

    return make


def test_fazpass_makes_sends_and_checks_the_code(fazpass, their, requested):
    phone = new_phone()
    otp_request_id = requested(phone)
    assert list(their.references.values()) == [phone]
    answer = verify(fazpass, otp_request_id, "246810")
    assert answer.status == 200
    problem_of(verify(fazpass, otp_request_id, "246810"), 409, "OTP_USED")
    # A used code is not asked about.
    assert their.paths() == ["/v1/otp/request", "/v1/otp/verify"]


def test_a_mitra_signs_in_by_fazpass(fazpass, requested, make_mitra):
    mitra = make_mitra()
    otp_request_id = requested(mitra.phone, "mitra")
    problem_of(verify(fazpass, otp_request_id, "246810"), 409, "WRONG_FLOW")
    assert verify(fazpass, otp_request_id, "246810", "mitra").json["user"]["id"] == mitra.id


def test_attempts_are_counted_before_fazpass_is_asked(fazpass, their, requested):
    otp_request_id = requested(new_phone())
    for left in (4, 3, 2, 1, 0):
        document = problem_of(verify(fazpass, otp_request_id, "111111"), 400, "CODE_MISMATCH")
        assert document["attempts_left"] == left
    problem_of(verify(fazpass, otp_request_id, "246810"), 410, "ATTEMPTS_EXCEEDED")
    assert their.paths().count("/v1/otp/verify") == 5


@pytest.mark.parametrize("status", [401, 403, 429, 500])
def test_a_fazpass_that_cannot_answer_is_not_a_wrong_code(fazpass, service, their, requested, status):
    otp_request_id = requested(new_phone())
    service.answer = lambda asked: (status, {}, {"status": False})
    problem_of(verify(fazpass, otp_request_id, "246810"), 503, "PROVIDER_UNAVAILABLE")
    service.answer = their.answer
    assert verify(fazpass, otp_request_id, "246810").status == 200


@pytest.mark.parametrize("body", ["", "no JSON", [], {}, {"status": "true"}, {"status": 1}, {"status": None}], ids=str)
def test_only_a_plain_yes_is_one(fazpass, service, requested, body):
    otp_request_id = requested(new_phone())
    service.answer = lambda asked: (200, {}, body)
    problem_of(verify(fazpass, otp_request_id, "246810"), 400, "CODE_MISMATCH")


def test_of_two_verifies_at_once_one_wins(fazpass, their, requested, service):
    otp_request_id = requested(new_phone())
    both = threading.Barrier(2, timeout=30)

    def together(asked):
        both.wait()
        return their.answer(asked)

    service.answer = together
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(verify(fazpass, otp_request_id, "246810"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(answer.code or "" for answer in answers) == ["", "OTP_USED"]


def test_an_unknown_mitra_is_asked_about_all_the_same(fazpass, their, make_mitra):
    """So a verify takes as long for a phone that nobody has; and no message was ordered."""
    otp_request_id = request(fazpass, new_phone(), "mitra")
    problem_of(verify(fazpass, otp_request_id, "246810", "mitra"), 400, "CODE_MISMATCH")
    assert their.paths() == ["/v1/otp/verify"]


# Settings


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"OTP_SENDER": "sms"}, ["OTP_SENDER"]),
        ({"OTP_SENDER": "webhook"}, ["OTP_WEBHOOK_URL", "OTP_WEBHOOK_SECRET"]),
        ({"OTP_SENDER": "fazpass"}, ["FAZPASS_MERCHANT_KEY", "FAZPASS_GATEWAY_KEY"]),
        ({"OTP_WEBHOOK_URL": "http://example.org/"}, ["OTP_WEBHOOK_URL"]),
        ({"OTP_WEBHOOK_URL": "http://localhost.example.org/"}, ["OTP_WEBHOOK_URL"]),
        ({"GOOGLE_JWKS_URL": "ftp://example.org/"}, ["GOOGLE_JWKS_URL"]),
        ({"OTP_WEBHOOK_SECRET": "short"}, ["OTP_WEBHOOK_SECRET"]),
        ({"HTTPS_CA_FILE": "/nowhere/at/all.pem"}, ["HTTPS_CA_FILE"]),
    ],
    ids=str,
)
def test_a_sender_that_cannot_work_stops_the_start(settings, named):
    done = program.run("check", settings={"DATABASE_URL": "postgresql://localhost/x", **settings})
    assert done.returncode == 2
    assert sorted(line.split(":")[0] for line in done.stderr.splitlines()) == sorted(named)


@pytest.mark.parametrize("sender", ["none", "log"])
def test_the_secrets_of_senders_are_not_shown(sender):
    secrets = {"OTP_WEBHOOK_SECRET": SECRET, "FAZPASS_MERCHANT_KEY": MERCHANT, "FAZPASS_GATEWAY_KEY": GATEWAY}
    settings = {"DATABASE_URL": "postgresql://localhost/x", "OTP_SENDER": sender, **secrets}
    done = program.run("check", settings=settings, check=True)
    for secret in secrets.values():
        assert secret not in done.stdout + done.stderr


# Nothing secret in the log


def test_codes_tokens_and_keys_stand_in_no_log_line(fazpass, webhook, service, their, requested, until):
    """Both instances at LOG_LEVEL debug, through success and failure."""
    otp_request_id = requested(new_phone())
    tokens = verify(fazpass, otp_request_id, "246810").json
    service.answer = lambda asked: (500, {}, {"secret": "of the provider"})
    verify(fazpass, requested_id(fazpass), "135791")
    request(webhook, new_phone())
    webhook.wait_log("a code was not sent by webhook")
    sent = [asked.json["code"] for asked in service.asked if asked.path == "/codes"]
    refreshed = webhook.post("/api/shared/auth/refresh", json={"refresh_token": tokens["refresh_token"]}).json
    log = fazpass.log_text() + webhook.log_text()
    hidden = [*sent, "246810", "135791", SECRET, MERCHANT, GATEWAY, "of the provider"]
    for answer in (tokens, refreshed):
        hidden += [answer["access_token"], answer["refresh_token"]]
    assert sent and [word for word in hidden if word in log] == []


def requested_id(mitrad):
    return request(mitrad, new_phone())
