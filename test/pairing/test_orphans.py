"""A mitra who is swept offline or deactivated during a session: the customer is not left alone."""

import datetime

import pytest

from harness.wait import wait_until


def sweep(service, mitra):
    """As the sweeper would, after his silence: in one transaction, or his last heartbeat might be stored in between."""
    silence = """UPDATE mitra_online_status SET online_since = now() - interval '1 hour',
            last_heartbeat_at = now() - interval '1 hour' WHERE mitra_id = %s;
        SELECT * FROM mitrad.auto_offline(ARRAY[%s]::uuid[], now() - interval '1 minute')"""
    # Whom somebody holds just now is left out.
    wait_until(lambda: service.database.rows(silence, mitra.id, mitra.id), what="him to be swept")


def deactivate(service, mitra):
    answer = service.instance.internal.patch(
        f"/internal/mitras/{mitra.id}", token=service.operator, json={"is_active": False})
    assert answer.status == 200, answer


def orphaned(service, session):
    return service.row(session)["orphaned_at"] is not None


@pytest.mark.parametrize("lose", [sweep, deactivate])
def test_a_lost_mitras_session_is_told_of_then_offered_again_with_its_remaining_time(
    service, nothing_impossible, lose
):
    service.configure(orphan_grace_seconds=1)
    mitra, session = service.pair(minutes=30)
    other = service.mitra()
    service.move(session, "expires_at", 600)
    lose(service, mitra)
    wait_until(lambda: "session_orphaned" in service.events(session["customer"]), what="the customer to be told")
    wait_until(lambda: session["id"] in service.requests(other), what="the offer to somebody else")
    assert service.row(session)["mitra_id"] is None
    assert service.events(mitra)[-1] == "session_ended"

    resumed = service.accept(other, session)
    assert resumed.status == 200 and resumed.json["status"] == "active" and resumed.json["mitra_id"] == other.id
    assert resumed.json["started_at"] == session["started_at"]
    ends = datetime.datetime.fromisoformat(resumed.json["expires_at"].replace("Z", "+00:00"))
    left = (ends - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert 540 < left <= 601, "what was left when the mitra was lost"
    assert service.events(session["customer"])[-4:] == [
        "session_orphaned", "session_requeued", "session_matched", "session_started"]
    nothing_impossible()


def test_a_mitra_who_is_back_in_time_keeps_the_session(service, nothing_impossible):
    service.configure(orphan_grace_seconds=600)
    mitra, session = service.pair()
    sweep(service, mitra)
    wait_until(lambda: orphaned(service, session), what="the session to be an orphan")
    service.go_online(mitra)
    wait_until(lambda: not orphaned(service, session), what="the session to have its mitra again")
    assert service.of_customer(session).json["status"] == "active"
    assert service.events(session["customer"])[-2:] == ["session_orphaned", "session_resumed"]
    nothing_impossible()


def test_who_goes_offline_by_hand_finishes_the_sessions_under_way(service, nothing_impossible):
    service.configure(orphan_grace_seconds=0)
    mitra, session = service.pair()
    assert service.instance.post("/api/mitra/status/offline", token=mitra.token).status == 200
    lost, other = service.pair()
    sweep(service, lost)
    wait_until(lambda: service.status(other) == "searching", what="the other session to be searched for again")
    assert service.of_mitra(mitra, session).json["status"] == "active"
    nothing_impossible()


def test_an_orphan_goes_ahead_of_the_queue(service):
    service.configure(orphan_grace_seconds=0)
    mitra, orphan = service.pair()
    older = service.search()
    service.database.execute(
        "UPDATE chat_request_notifications SET status = 'declined' WHERE session_id = %s", older["id"])
    sweep(service, mitra)
    wait_until(lambda: service.status(orphan) == "searching", what="the orphan to be searched for")
    newcomer = service.mitra()
    wait_until(lambda: len(service.requests(newcomer)) == 2, what="both offers")
    assert service.requests(newcomer) == [orphan["id"], older["id"]]


@pytest.mark.parametrize("give_up", ["end", "cancel"])
def test_who_is_searched_another_mitra_for_may_give_up_and_the_chat_is_ended(service, nothing_impossible, give_up):
    service.configure(orphan_grace_seconds=0)
    mitra, session = service.pair()
    deactivate(service, mitra)
    wait_until(lambda: service.status(session) == "searching", what="the search for another mitra")
    ended = service.of_customer(session, give_up)
    assert ended.status == 200, ended
    assert (ended.json["status"], ended.json["end_reason"]) == ("ended", "customer"), "a part of it took place"
    assert service.of_customer(session, give_up).json == ended.json, "repeating it changes nothing"
    assert service.events(session["customer"])[-1] == "session_ended"
    nothing_impossible()


def test_an_orphan_whom_nobody_takes_is_ended(service, nothing_impossible):
    service.configure(orphan_grace_seconds=0)
    mitra, session = service.pair()
    sweep(service, mitra)
    wait_until(lambda: service.status(session) == "searching", what="the orphan to be searched for")
    service.move(session, "searching_since", -61)
    wait_until(lambda: service.status(session) == "ended", what="the end")
    assert service.of_customer(session).json["end_reason"] == "mitra_lost"
    assert service.search(session["customer"])["status"] == "searching", "the customer may try again"
    nothing_impossible()


def test_a_mitra_lost_while_the_customer_pays_is_missed_when_the_chat_begins(service, nothing_impossible):
    service.configure(payment_timing="after_match", orphan_grace_seconds=0)
    mitra, session = service.pair()
    sweep(service, mitra)
    service.confirm(session["payment"])
    wait_until(lambda: service.status(session) == "searching", what="the search for another mitra")
    other = service.mitra()
    wait_until(lambda: session["id"] in service.requests(other), what="the offer")
    assert service.accept(other, session).json["status"] == "active", "it is paid"
    nothing_impossible()
