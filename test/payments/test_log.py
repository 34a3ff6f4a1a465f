"""What is said of payments in the log: why a provider refuses, and no secret ever."""

import base64
import itertools

from harness import program

from .conftest import CALLBACK_TOKEN, SECRET_KEY


def test_the_provider_s_reason_stands_in_the_log(service, xendit):
    xendit.fault = lambda asked: (400, {}, {"error_code": 'x" forged'})
    service.search()
    service.instance.wait_log("xendit could not be asked, it will be again: it answered 400")
    xendit.fault = lambda asked: (400, {}, {"error_code": "MINIMUM_AMOUNT_ERROR", "message": "…"})
    service.search()
    service.instance.wait_log("it answered 400 MINIMUM_AMOUNT_ERROR")
    assert "forged" not in service.instance.log_text()


def test_no_secret_of_a_payment_stands_in_any_log(service, xendit, settings):
    faults = itertools.cycle([None, (401, {}, {"error_code": SECRET_KEY}), (200, {}, "nonsense"), None])
    xendit.fault = lambda asked: next(faults)
    sessions = [service.search() for _ in range(8)]
    for session in sessions[:4]:
        service.say({"external_id": service.payment(session)["id"], "status": "PAID"})
    service.say({}, token=CALLBACK_TOKEN[:-1])
    service.heard()
    service.instance.wait_log("xendit could not be asked")
    checked = program.run("check", settings={**service.instance.settings, **settings}, check=True).stdout
    service.instance.stop()
    told = service.instance.log_text() + checked
    for secret in (SECRET_KEY, CALLBACK_TOKEN[:-1], base64.b64encode(f"{SECRET_KEY}:".encode()).decode()):
        assert secret not in told
