"""Of many who accept at once, as many win as may: with several processes, and two instances."""

import os
import random
from collections import Counter

import pytest

from harness.at_once import Ask, ask_at_once

ROUNDS = int(os.environ.get("PAIRING_ROUNDS", "20"))
MITRAS = 200


@pytest.mark.deadline(1200)
def test_of_200_mitras_who_accept_one_session_exactly_one_wins(two_instances, database, nothing_impossible):
    service = two_instances
    service.configure(max_customers_per_mitra=100)
    mitras = service.crowd(MITRAS)
    tokens = {mitra.id: mitra.token for mitra in mitras}
    for _ in range(ROUNDS):
        session = service.search()
        path = f"/api/mitra/requests/{session['id']}/accept"
        random.shuffle(mitras)
        answers = ask_at_once([Ask(service.instance.public, "POST", path, tokens[mitra.id]) for mitra in mitras])
        assert Counter((answer.status, answer.code) for answer in answers) == {
            (200, None): 1,
            (409, "REQUEST_TAKEN"): MITRAS - 1,
        }
        winner = mitras[[answer.status for answer in answers].index(200)]
        assert service.row(session)["mitra_id"] == winner.id
        told = database.rows(
            "SELECT user_id, data FROM user_events WHERE session_id = %s AND type = 'request_closed'", session["id"])
        assert sorted(event["user_id"] for event in told) == sorted(tokens.keys() - {winner.id})
        assert all(event["data"] == {"reason": "taken"} for event in told)
    nothing_impossible()


@pytest.mark.deadline(600)
def test_10_mitras_never_have_more_than_3_of_50_sessions(two_instances, database, nothing_impossible):
    service = two_instances
    service.configure(offers_per_mitra_max=50, blast_timeout_seconds=600)
    mitras = {mitra.id: mitra for mitra in service.crowd(10)}
    made = ask_at_once([
        Ask(service.instance.public, "POST", "/api/client/sessions", service.customer().token, {"duration_minutes": 30})
        for _ in range(50)])
    assert {answer.status for answer in made} == {201}

    def accept_everything():
        """Every open offer to everybody, in one moment; how often each was answered what."""
        offers = database.rows("SELECT session_id, mitra_id FROM chat_request_notifications WHERE status = 'sent'")
        random.shuffle(offers)
        answers = ask_at_once([
            Ask(service.instance.public, "POST", f"/api/mitra/requests/{offer['session_id']}/accept",
                mitras[offer["mitra_id"]].token) for offer in offers])
        return Counter((answer.status, answer.code) for answer in answers)

    def loads():
        return {row["mitra_id"]: row["n"] for row in database.rows(
            "SELECT mitra_id, count(*) AS n FROM chat_sessions WHERE status = 'active' GROUP BY mitra_id")}

    seen = accept_everything()
    assert seen.total() == 500
    assert seen[(200, None)] == 30 and set(seen) <= {(200, None), (409, "REQUEST_TAKEN"), (409, "AT_CAPACITY")}
    assert loads() == {id: 3 for id in mitras}
    nothing_impossible()

    # Ten of them end, anybody's; their mitras take ten of those who still wait.
    active = database.rows("SELECT id, mitra_id FROM chat_sessions WHERE status = 'active' ORDER BY random() LIMIT 10")
    ended = ask_at_once([
        Ask(service.instance.public, "POST", f"/api/mitra/sessions/{session['id']}/end", mitras[session["mitra_id"]].token)
        for session in active])
    assert {answer.status for answer in ended} == {200}
    assert accept_everything()[(200, None)] == 10
    assert loads() == {id: 3 for id in mitras}
    nothing_impossible()
