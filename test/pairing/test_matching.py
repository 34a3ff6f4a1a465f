"""Whom a session is offered to, and when: blast, waves, the queue, the ramp, and those who never answer."""

import pytest

from harness import tokens
from harness.wait import holds_for, wait_until


def offers(service, session):
    """{mitra id: status}"""
    rows = service.database.rows(
        "SELECT mitra_id, status FROM chat_request_notifications WHERE session_id = %s", session["id"])
    return {row["mitra_id"]: row["status"] for row in rows}


def test_a_new_session_is_offered_to_everybody_available_and_to_nobody_else(service, nothing_impossible):
    service.configure(max_customers_per_mitra=1)
    full, _ = service.pair()
    free = [service.mitra() for _ in range(3)]
    offline, inactive = service.mitra(online=False), service.mitra()
    service.instance.internal.patch(f"/internal/mitras/{inactive.id}", token=service.operator, json={"is_active": False})
    session = service.search()
    assert offers(service, session) == {mitra.id: "sent" for mitra in free}
    for mitra in free:
        event = service.event(mitra, "request_offered")
        assert event["duration_minutes"] == 30 and event["expires_at"]
    assert service.requests(offline) == service.requests(full) == []
    nothing_impossible()


def test_an_offer_says_what_is_asked_for(service):
    mitra = service.mitra()
    session = service.search(minutes=45)
    answer = service.instance.get("/api/mitra/requests", token=mitra.token).json["requests"]
    assert len(answer) == 1
    assert answer[0]["session_id"] == session["id"] and answer[0]["duration_minutes"] == 45
    assert answer[0]["customer_id"] == session["customer"].id
    assert answer[0]["customer_name"] == session["customer"].display_name
    assert answer[0]["offered_at"] and answer[0]["expires_at"] > answer[0]["offered_at"]


@pytest.mark.parametrize("outage", [False, True])
def test_the_mirror_says_who_is_available_and_without_it_the_truth(calm, valkey, outage):
    # Calm, for heartbeats that are stored, and reseeds, would mend the one of the two edits by the other.
    mitra, silent = calm.mitra(), calm.mitra()
    with valkey.client() as keys:
        keys.set(f"mitra:heartbeat:{silent.id}", "2020-01-01T00:00:00.000Z")
    calm.database.execute(
        "UPDATE mitra_online_status SET last_heartbeat_at = now() - interval '1 day' WHERE mitra_id = %s", silent.id)
    if outage:
        valkey.stop()
    assert offers(calm, calm.search()) == {mitra.id: "sent"}


def test_the_first_wave_are_the_least_busy_then_the_longest_idle(service, nothing_impossible):
    service.configure(blast_wave_size=2, blast_wave_seconds=1)
    busy, idle, longest = service.mitra(), service.mitra(), service.mitra()
    service.database.execute(
        """UPDATE mitra_online_status SET online_since = now() - CASE mitra_id WHEN %s THEN interval '2 hours'
           WHEN %s THEN interval '1 hour' ELSE interval '3 hours' END""", longest.id, idle.id)
    service.database.execute(
        """INSERT INTO chat_sessions (customer_id, mitra_id, status, matched_at, started_at, expires_at)
           VALUES (%s, %s, 'active', now(), now(), now() + interval '1 hour')""", service.customer().id, busy.id)
    session = service.search()
    assert set(offers(service, session)) == {idle.id, longest.id}
    wait_until(lambda: busy.id in offers(service, session), what="the second wave")
    assert len(service.events(busy)) == 1
    nothing_impossible()


def test_who_comes_online_is_offered_the_oldest_waiting_sessions_one_a_second(service, nothing_impossible):
    sessions = [service.search() for _ in range(3)]
    mitra = service.mitra()
    wait_until(lambda: len(service.requests(mitra)) == 3, what="all three offers")
    assert service.requests(mitra) == [session["id"] for session in sessions]
    times = service.database.rows(
        "SELECT created_at AS at FROM chat_request_notifications WHERE mitra_id = %s ORDER BY created_at", mitra.id)
    gaps = [(later["at"] - sooner["at"]).total_seconds() for sooner, later in zip(times, times[1:])]
    assert all(gap >= 1 for gap in gaps), gaps
    nothing_impossible()


def test_no_mitra_sees_more_open_offers_than_allowed_and_who_has_waited_longest_is_next(service, nothing_impossible):
    service.configure(offers_per_mitra_max=2)
    mitra = service.mitra()
    sessions = [service.search() for _ in range(4)]
    # The second may come out of the queue, a second later: the matcher was just looking at who came online.
    wait_until(lambda: len(service.requests(mitra)) == 2, what="the second offer")
    assert service.requests(mitra) == [session["id"] for session in sessions[:2]]
    assert service.decline(mitra, sessions[0]).status == 204
    wait_until(lambda: len(service.requests(mitra)) == 2, what="the next offer")
    assert service.requests(mitra) == [sessions[1]["id"], sessions[2]["id"]]
    assert service.of_customer(sessions[1], "cancel").status == 200
    wait_until(lambda: len(service.requests(mitra)) == 2, what="the next offer")
    assert service.requests(mitra) == [sessions[2]["id"], sessions[3]["id"]]
    nothing_impossible()


def test_who_gets_a_free_slot_is_offered_who_waits(service, nothing_impossible):
    service.configure(max_customers_per_mitra=1)
    mitra, current = service.pair()
    waiting = service.search()
    assert service.requests(mitra) == []
    assert service.of_mitra(mitra, current, "end").status == 200
    wait_until(lambda: service.requests(mitra) == [waiting["id"]], what="the offer")
    nothing_impossible()


def test_who_has_seen_all_that_waits_keeps_no_new_session_from_being_offered_at_once(service, nothing_impossible):
    service.configure(offers_per_mitra_max=20)
    mitra, ending = service.pair()
    mitras = [mitra, service.mitra(), service.mitra()]
    waiting = service.search()
    assert service.of_mitra(mitra, ending, "end").status == 200
    nobody_marked = "SELECT count(*) = 0 FROM matching_marks WHERE offers_at IS NOT NULL"
    wait_until(lambda: service.database.value(nobody_marked), what="the matcher to have looked at him")
    session = service.search()
    offers = "SELECT mitra_id FROM chat_request_notifications WHERE session_id = %s AND created_at <= %s"
    answered = service.database.value("SELECT max(at) FROM user_events WHERE session_id = %s", session["id"])
    for one in (waiting, session):
        offered = service.database.rows(offers, one["id"], answered)
        assert {offer["mitra_id"] for offer in offered} == {mitra.id for mitra in mitras}
    nothing_impossible()


def test_an_accept_at_the_limit_is_refused_and_the_offer_stays(service, nothing_impossible):
    service.configure(max_customers_per_mitra=1)
    mitra = service.mitra()
    one, other = service.search(), service.search()
    wait_until(lambda: len(service.requests(mitra)) == 2, 20, "both offers")
    assert service.accept(mitra, one).status == 200
    refused = service.accept(mitra, other)
    assert (refused.status, refused.code) == (409, "AT_CAPACITY")
    assert service.of_mitra(mitra, one, "end").status == 200
    assert service.accept(mitra, other).status == 200
    nothing_impossible()


def test_a_declined_offer_is_gone(service, nothing_impossible):
    mitra = service.mitra()
    session = service.search()
    assert service.decline(mitra, session).status == 204
    assert service.decline(mitra, session).status == 204, "repeating it changes nothing"
    assert service.requests(mitra) == [] and service.status(session) == "searching"
    assert service.events(mitra) == ["request_offered", "request_closed"]
    refused = service.accept(mitra, session)
    assert (refused.status, refused.code) == (409, "REQUEST_CLOSED")
    stranger = service.mitra(online=False)
    assert service.accept(stranger, session).status == service.decline(stranger, session).status == 404
    nothing_impossible()


def test_a_cancelled_search_closes_its_offers(service, nothing_impossible):
    mitra = service.mitra()
    session = service.search()
    cancelled = service.of_customer(session, "cancel")
    assert cancelled.status == 200 and cancelled.json["status"] == "cancelled"
    assert service.of_customer(session, "cancel").json == cancelled.json
    assert service.requests(mitra) == []
    assert service.event(mitra, "request_closed") == {"reason": "cancelled"}
    assert service.accept(mitra, session).code == "REQUEST_CLOSED"
    assert service.search(session["customer"])["status"] == "searching", "and the customer may try again"
    nothing_impossible()


def lapse(service, customer=None):
    """A search that nobody answers."""
    session = service.search(customer)
    service.move(session, "created_at", -61)
    wait_until(lambda: service.status(session) == "unmatched", what="the end of the search")
    return session


def test_a_search_that_nobody_answers_is_unmatched_and_may_be_repeated_at_once(service, nothing_impossible):
    mitra = service.mitra()
    session = lapse(service)
    assert service.events(session["customer"]) == ["session_unmatched"]
    assert service.event(mitra, "request_closed") == {"reason": "expired"}
    again = service.search(session["customer"])
    assert service.requests(mitra) == [again["id"]]
    nothing_impossible()


def test_who_lets_too_many_offers_lapse_is_taken_offline_and_told(service, nothing_impossible):
    service.configure(no_answer_limit=2)
    silent, attentive = service.mitra(), service.mitra()
    lapse(service)
    assert service.decline(attentive, service.search()).status == 204
    lapse(service)
    wait_until(lambda: "status_changed" in service.events(silent), what="the silent one to go offline")
    assert service.event(silent, "status_changed") == {"online": False, "reason": "no_answer"}
    online = service.database.rows("SELECT mitra_id FROM mitra_online_status WHERE is_online")
    assert [row["mitra_id"] for row in online] == [attentive.id]
    reason = "SELECT reason FROM mitra_online_logs WHERE mitra_id = %s AND status = 'offline'"
    assert service.database.value(reason, silent.id) == "no_answer"
    # Who comes back begins anew.
    service.go_online(silent)
    lapse(service)
    is_online = "SELECT is_online FROM mitra_online_status WHERE mitra_id = %s"
    holds_for(lambda: service.database.value(is_online, silent.id), 1, "being online")
    nothing_impossible()


def test_being_full_is_no_lack_of_answers(service, nothing_impossible):
    service.configure(no_answer_limit=1, max_customers_per_mitra=1)
    mitra = service.mitra()
    one, other = service.search(), service.search()
    assert service.accept(mitra, one).status == 200
    service.move(other, "created_at", -61)
    wait_until(lambda: service.status(other) == "unmatched", what="the end of the search")
    assert service.database.value("SELECT is_online FROM mitra_online_status WHERE mitra_id = %s", mitra.id)
    nothing_impossible()


def test_who_is_offline_deactivated_or_signed_out_cannot_accept(service, nothing_impossible):
    offline, inactive, revoked = service.mitra(), service.mitra(), service.mitra()
    session = service.search()
    service.instance.post("/api/mitra/status/offline", token=offline.token)
    service.instance.internal.patch(f"/internal/mitras/{inactive.id}", token=service.operator, json={"is_active": False})
    refused = service.accept(offline, session)
    assert (refused.status, refused.code) == (409, "REQUEST_CLOSED")
    refused = service.accept(inactive, session)
    assert (refused.status, refused.code) == (403, "ACCOUNT_INACTIVE")
    auth = service.database.value(
        """INSERT INTO auth_sessions (user_type, user_id, refresh_token_hash, expires_at, revoked_at)
           VALUES ('mitra', %s, 'x', now() + interval '1 day', now()) RETURNING id""", revoked.id)
    token = tokens.mint("mitra", revoked.id, session_id=auth)
    refused = service.instance.post(f"/api/mitra/requests/{session['id']}/accept", token=token)
    assert (refused.status, refused.code) == (401, "UNAUTHENTICATED")
    assert service.status(session) == "searching"
    nothing_impossible()
