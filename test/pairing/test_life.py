"""A session from the search to its end, as both parties see it."""


def test_a_session_is_offered_accepted_and_ended(service, nothing_impossible):
    winner, loser = service.mitra(), service.mitra()
    session = service.search(minutes=30)
    assert session["status"] == "searching" and session["mitra_id"] is None and session["payment"] is None
    assert service.requests(winner) == service.requests(loser) == [session["id"]]

    accepted = service.accept(winner, session)
    assert accepted.status == 200, accepted
    assert accepted.json["status"] == "active" and accepted.json["mitra_id"] == winner.id
    assert accepted.json["started_at"] and accepted.json["expires_at"] > accepted.json["started_at"]
    assert service.requests(loser) == []
    assert (service.accept(loser, session).status, service.accept(loser, session).code) == (409, "REQUEST_TAKEN")
    assert service.accept(winner, session).json == accepted.json
    assert service.of_customer(session).json == service.of_mitra(winner, session).json == accepted.json

    ended = service.of_customer(session, "end")
    assert ended.status == 200 and ended.json["status"] == "ended" and ended.json["end_reason"] == "customer"
    assert service.of_customer(session, "end").json == ended.json
    assert service.events(session["customer"]) == ["session_matched", "session_started", "session_ended"]
    assert service.events(winner) == ["request_offered", "session_matched", "session_started", "session_ended"]
    assert service.events(loser) == ["request_offered", "request_closed"]
    assert service.event(loser, "request_closed") == {"reason": "taken"}
    nothing_impossible()
