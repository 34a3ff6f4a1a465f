"""An operator gives a session to another mitra, by the rules of an accept."""

from harness.wait import wait_until


def reroute(service, session, mitra):
    return service.by_operator(session, "reroute", {"mitra_id": mitra if isinstance(mitra, str) else mitra.id})


def load(service, mitra):
    return service.instance.get("/api/mitra/status", token=mitra.token).json["active_sessions"]


def test_both_loads_are_right_at_once_and_everybody_is_told(service, valkey, nothing_impossible):
    one, session = service.pair()
    other = service.mitra()
    moved = reroute(service, session, other)
    assert moved.status == 200 and moved.json["mitra_id"] == other.id
    assert moved.json["expires_at"] == session["expires_at"], "it keeps its time"
    with valkey.client() as keys:
        assert keys.mget(f"mitra:capacity:{one.id}", f"mitra:capacity:{other.id}") == ["0", "1"]
    assert (load(service, one), load(service, other)) == (0, 1)
    assert service.of_mitra(one, session).status == 404 and service.of_mitra(other, session).status == 200
    assert service.event(one, "session_ended") == {"end_reason": "rerouted"}
    assert service.event(other, "session_matched") == {"customer_id": session["customer"].id}
    assert service.event(session["customer"], "session_matched") == {"mitra_id": other.id}
    assert reroute(service, session, other).json == moved.json, "repeating it changes nothing"
    nothing_impossible()


def test_a_searching_session_can_be_given_away_too(service, nothing_impossible):
    hopeful, chosen = service.mitra(), service.mitra()
    session = service.search()
    moved = reroute(service, session, chosen)
    assert moved.json["status"] == "active" and moved.json["mitra_id"] == chosen.id
    assert service.requests(hopeful) == []
    assert service.event(hopeful, "request_closed") == {"reason": "rerouted"}
    assert service.accept(hopeful, session).code == "REQUEST_TAKEN"
    nothing_impossible()


def test_the_rules_of_an_accept_hold(service, nothing_impossible):
    service.configure(max_customers_per_mitra=1)
    _, session = service.pair()
    full, _ = service.pair()
    inactive = service.mitra()
    service.instance.internal.patch(
        f"/internal/mitras/{inactive.id}", token=service.operator, json={"is_active": False})
    for mitra, status, code in [
        (full, 409, "AT_CAPACITY"),
        (service.mitra(online=False), 409, "MITRA_UNREACHABLE"),
        (inactive, 409, "MITRA_UNREACHABLE"),
        ("5f3c1a52-0000-4000-8000-000000000000", 400, "INVALID_REQUEST"),
        ("nobody", 400, "INVALID_REQUEST"),
    ]:
        answer = reroute(service, session, mitra)
        assert (answer.status, answer.code) == (status, code), answer
    assert service.of_customer(session).json["mitra_id"] == session["mitra_id"]
    service.of_customer(session, "end")
    assert reroute(service, session, service.mitra()).code == "WRONG_SESSION_STATUS"
    assert reroute(service, {"id": "5f3c1a52-0000-4000-8000-000000000000"}, full).code == "NOT_FOUND"
    nothing_impossible()


def test_an_orphan_that_is_rerouted_is_none_any_more(service, nothing_impossible):
    service.configure(orphan_grace_seconds=600)
    mitra, session = service.pair()
    other = service.mitra()
    service.instance.internal.patch(f"/internal/mitras/{mitra.id}", token=service.operator, json={"is_active": False})
    wait_until(lambda: service.row(session)["orphaned_at"], what="the session to be an orphan")
    assert reroute(service, session, other).status == 200
    assert service.row(session)["orphaned_at"] is None
    nothing_impossible()


def test_what_an_operator_did_is_recorded(service):
    _, session = service.pair()
    other = service.mitra()
    reroute(service, session, other)
    service.by_operator(session, "end")
    actions = service.database.rows(
        "SELECT action, before, after FROM operator_actions WHERE entity_id = %s ORDER BY created_at", session["id"])
    assert [action["action"] for action in actions] == ["session.reroute", "session.end"]
    assert actions[0]["before"]["mitra_id"] == session["mitra_id"] and actions[0]["after"]["mitra_id"] == other.id
    assert actions[1]["after"]["end_reason"] == "operator"
