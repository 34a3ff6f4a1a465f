"""When a session is paid: never, before the search, or after a mitra has accepted."""

import pytest

from harness.wait import wait_until


def test_without_payment_a_session_searches_at_once_and_starts_with_the_accept(service):
    _, session = service.pair()
    assert session["status"] == "active" and session["payment"] is None


def test_paid_before_the_match_the_search_waits_for_the_payment(service, nothing_impossible):
    service.configure(payment_timing="before_match", price_per_minute=500)
    mitra = service.mitra()
    session = service.search(minutes=20)
    assert session["status"] == "pending_payment" and session["mitra_id"] is None
    payment = session["payment"]
    assert (payment["status"], payment["amount"], payment["currency"]) == ("pending", 10000, "IDR")
    assert payment["provider"] == "manual"
    assert service.requests(mitra) == []
    assert service.event(session["customer"], "session_payment_due")["payment_id"] == payment["id"]

    confirmed = service.confirm(payment)
    assert confirmed.status == 200 and confirmed.json["status"] == "paid"
    assert service.confirm(payment).json == confirmed.json, "confirming again changes nothing"
    assert service.requests(mitra) == [session["id"]]
    accepted = service.accept(mitra, session)
    assert accepted.json["status"] == "active" and accepted.json["payment"]["status"] == "paid"
    assert service.events(session["customer"]) == [
        "session_payment_due", "session_paid", "session_matched", "session_started"]
    nothing_impossible()


def test_paid_after_the_match_the_mitra_is_held_until_then(service, nothing_impossible):
    service.configure(payment_timing="after_match", max_customers_per_mitra=1)
    mitra = service.mitra()
    _, session = service.pair(mitra)
    assert session["status"] == "pending_payment" and session["mitra_id"] == mitra.id
    assert session["started_at"] is None and session["expires_at"] is None
    status = service.instance.get("/api/mitra/status", token=mitra.token).json
    assert status["active_sessions"] == 1, "an unpaid session counts as load"

    assert service.confirm(session["payment"]).status == 200
    started = service.of_mitra(mitra, session).json
    assert started["status"] == "active" and started["started_at"] and started["payment"]["status"] == "paid"
    nothing_impossible()


@pytest.mark.parametrize("timing", ["before_match", "after_match"])
def test_an_unpaid_session_is_cancelled_at_its_deadline(service, nothing_impossible, timing):
    service.configure(payment_timing=timing)
    mitra = service.mitra()
    session = service.search()
    if timing == "after_match":
        session = {**service.accept(mitra, session).json, "customer": session["customer"]}
        service.move(session, "matched_at", -901)
    else:
        service.move(session, "created_at", -901)
    wait_until(lambda: service.status(session) == "cancelled", what="the cancellation")
    cancelled = service.of_customer(session).json
    assert cancelled["end_reason"] == "payment_timeout" and cancelled["payment"]["status"] == "expired"
    assert service.events(session["customer"])[-1] == "session_cancelled"
    assert service.events(mitra)[-1:] == (["session_cancelled"] if timing == "after_match" else [])
    late = service.confirm(session["payment"])
    assert (late.status, late.code) == (409, "PAYMENT_CLOSED")
    nothing_impossible()


def test_money_that_comes_too_late_is_noted_and_wakes_no_dead_session(service, nothing_impossible):
    service.configure(payment_timing="before_match")
    session = service.search()
    assert service.of_customer(session, "cancel").json["payment"]["status"] == "cancelled"
    late = service.database.rows(
        "SELECT * FROM mitrad.session_confirm_payment(%s, true)", session["payment"]["id"])
    assert late[0]["problem"] is None
    assert service.of_customer(session).json["payment"]["status"] == "refund_due"
    assert service.status(session) == "cancelled"
    nothing_impossible()


def test_where_nobody_collects_nothing_is_paid(service):
    service.configure(payment_timing="before_match", payment_provider="none")
    assert service.search()["status"] == "searching"
    service.configure(payment_provider="manual", price_per_minute=0)
    assert service.search()["status"] == "searching"


def test_a_payment_that_does_not_exist_cannot_be_confirmed(service):
    answer = service.confirm({"id": "5f3c1a52-0000-4000-8000-000000000000"})
    assert (answer.status, answer.code) == (404, "NOT_FOUND")
