"""The routes of sessions: who may do what, what the lists hold, and what is refused."""

import uuid

import pytest

from harness import tokens
from harness.api import fields_of, problem_of

NOBODY = "5f3c1a52-0000-4000-8000-000000000000"


def test_a_customer_has_one_open_session_at_most(service, nothing_impossible):
    session = service.search()
    refused = service.create(session["customer"])
    problem_of(refused, 409, "SESSION_ALREADY_OPEN")
    service.of_customer(session, "cancel")
    assert service.create(session["customer"]).status == 201
    nothing_impossible()


@pytest.mark.parametrize("body, fields", [
    ({}, ["duration_minutes"]),
    ({"duration_minutes": 0}, ["duration_minutes"]),
    ({"duration_minutes": 1441}, ["duration_minutes"]),
    ({"duration_minutes": 1.5}, ["duration_minutes"]),
    ({"duration_minutes": "30"}, ["duration_minutes"]),
    ({"duration_minutes": None}, ["duration_minutes"]),
    ({"duration_minutes": 30, "mitra_id": NOBODY}, ["mitra_id"]),
])
def test_a_wish_that_makes_no_sense_is_refused(calm, body, fields):
    customer = calm.customer()
    answer = calm.instance.post("/api/client/sessions", token=customer.token, json=body)
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == fields
    assert calm.instance.get("/api/client/sessions", token=customer.token).json["sessions"] == []


def test_a_customer_whom_nobody_knows_is_not_authenticated(calm):
    answer = calm.instance.post("/api/client/sessions", token=tokens.mint("customer"), json={"duration_minutes": 5})
    problem_of(answer, 401, "UNAUTHENTICATED")


def test_a_session_is_seen_by_its_parties_and_by_operators_only(calm):
    mitra, session = calm.pair()
    stranger, other = calm.customer(), calm.mitra()
    path = f"/api/client/sessions/{session['id']}"
    assert calm.of_customer(session).status == 200
    problem_of(calm.instance.get(path, token=stranger.token), 404, "NOT_FOUND")
    problem_of(calm.instance.post(f"{path}/end", token=stranger.token), 404, "NOT_FOUND")
    problem_of(calm.instance.post(f"{path}/cancel", token=stranger.token), 404, "NOT_FOUND")
    problem_of(calm.instance.get(path, token=mitra.token), 403, "WRONG_USER_TYPE")
    problem_of(calm.of_mitra(other, session), 404, "NOT_FOUND")
    problem_of(calm.of_mitra(other, session, "end"), 404, "NOT_FOUND")
    seen = calm.instance.internal.get(f"/internal/sessions/{session['id']}", token=calm.operator)
    assert seen.json == calm.of_customer(session).json
    problem_of(calm.of_mitra(mitra, {"id": NOBODY}), 404, "NOT_FOUND")
    assert calm.status(session) == "active"


def test_each_side_and_an_operator_can_end_a_session(calm, nothing_impossible):
    for end, reason in [
        (lambda mitra, session: calm.of_customer(session, "end"), "customer"),
        (lambda mitra, session: calm.of_mitra(mitra, session, "end"), "mitra"),
        (lambda mitra, session: calm.by_operator(session, "end"), "operator"),
    ]:
        mitra, session = calm.pair()
        ended = end(mitra, session)
        assert ended.status == 200 and (ended.json["status"], ended.json["end_reason"]) == ("ended", reason)
        assert ended.json["ended_at"]
        assert end(mitra, session).json == ended.json, "repeating it changes nothing"
        assert calm.event(mitra, "session_ended") == calm.event(session["customer"], "session_ended")
    nothing_impossible()


def test_a_cancel_ends_no_chat_and_an_end_no_search(calm, nothing_impossible):
    _, active = calm.pair()
    problem_of(calm.of_customer(active, "cancel"), 409, "WRONG_SESSION_STATUS")
    searching = calm.search()
    problem_of(calm.of_customer(searching, "end"), 409, "WRONG_SESSION_STATUS")
    assert calm.by_operator(searching, "end").json["status"] == "cancelled"
    problem_of(calm.of_customer(searching, "end"), 409, "WRONG_SESSION_STATUS")
    nothing_impossible()


def pages(get, path, token, name="sessions"):
    """All of a list, two at a time."""
    found, cursor = [], None
    while True:
        page = get(f"{path}{'&' if '?' in path else '?'}limit=2" + (f"&cursor={cursor}" if cursor else ""), token=token)
        assert page.status == 200, page
        found += [session["id"] for session in page.json[name]]
        cursor = page.json["next_cursor"]
        if cursor is None:
            return found


def test_lists_are_newest_first_page_by_page_and_filtered(calm):
    mitra = calm.mitra()
    customer = calm.customer()
    made = []
    for _ in range(5):
        session = calm.search(customer)
        made.insert(0, session["id"])
        calm.accept(mitra, session)
        calm.of_customer({**session}, "end")
    open_session = calm.search(customer)
    calm.pair()
    public, internal = calm.instance.get, calm.instance.internal.get
    assert pages(public, "/api/client/sessions", customer.token) == [open_session["id"], *made]
    assert pages(public, "/api/client/sessions?status=ended", customer.token) == made
    assert pages(public, "/api/mitra/sessions", mitra.token) == made
    assert pages(internal, f"/internal/sessions?mitra_id={mitra.id}", calm.operator) == made
    assert pages(internal, f"/internal/sessions?customer_id={customer.id}&status=searching", calm.operator) == [
        open_session["id"]]
    everything = calm.database.rows("SELECT id FROM chat_sessions ORDER BY created_at DESC, id DESC")
    assert pages(internal, "/internal/sessions", calm.operator) == [row["id"] for row in everything]


@pytest.mark.parametrize("query, field", [
    ("status=dead", "status"), ("mitra_id=me", "mitra_id"), ("customer_id=42", "customer_id"),
    ("cursor=abc", "cursor"), ("limit=0", "limit"),
])
def test_a_filter_that_makes_no_sense_is_refused(calm, query, field):
    answer = calm.instance.internal.get(f"/internal/sessions?{query}", token=calm.operator)
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == [field]


def test_an_operator_must_be_one(calm):
    _, session = calm.pair()
    for path in (f"/internal/sessions/{session['id']}/end", f"/internal/payments/{uuid.uuid4()}/confirm"):
        assert calm.instance.internal.post(path).status == 401
        assert calm.instance.internal.post(path, token=tokens.mint("mitra")).status == 403


def test_a_revoked_sign_in_changes_no_session(calm):
    mitra, session = calm.pair()
    revoked = {}
    for person in (mitra, session["customer"]):
        auth = calm.database.value(
            """INSERT INTO auth_sessions (user_type, user_id, refresh_token_hash, expires_at, revoked_at)
               VALUES (%s, %s, %s, now() + interval '1 day', now()) RETURNING id""",
            person.user_type, person.id, person.id)
        revoked[person.user_type] = tokens.mint(person.user_type, person.id, session_id=auth)
    for side, token in (("client", revoked["customer"]), ("mitra", revoked["mitra"])):
        answer = calm.instance.post(f"/api/{side}/sessions/{session['id']}/end", token=token)
        problem_of(answer, 401, "UNAUTHENTICATED")
    problem_of(calm.instance.post("/api/client/sessions", token=revoked["customer"], json={"duration_minutes": 5}),
        401, "UNAUTHENTICATED")
    assert calm.status(session) == "active"
