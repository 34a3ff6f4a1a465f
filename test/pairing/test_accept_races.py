"""Of many who accept at once, as many win as may: with several processes, and two instances."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.wait import wait_until

ROUNDS = int(os.environ.get("PAIRING_ROUNDS", "20"))


@pytest.mark.deadline(1200)
def test_of_200_mitras_who_accept_one_session_exactly_one_wins(two_instances, nothing_impossible):
    service = two_instances
    service.configure(max_customers_per_mitra=100)
    mitras = service.crowd(200)
    tokens = [mitra.token for mitra in mitras]
    with ThreadPoolExecutor(40) as pool:
        for _ in range(ROUNDS):
            session = service.search()
            path = f"/api/mitra/requests/{session['id']}/accept"
            instances = [service.instance for _ in tokens]
            answers = list(pool.map(lambda instance, token: instance.post(path, token=token), instances, tokens))
            assert Counter((answer.status, answer.code) for answer in answers) == {
                (200, None): 1,
                (409, "REQUEST_TAKEN"): 199,
            }
            winner = mitras[[answer.status for answer in answers].index(200)]
            assert service.row(session)["mitra_id"] == winner.id
            told = service.database.rows(
                """SELECT user_id, type, data FROM user_events
                   WHERE session_id = %s AND type = 'request_closed'""", session["id"])
            assert {event["user_id"] for event in told} == {mitra.id for mitra in mitras} - {winner.id}
            assert all(event["data"] == {"reason": "taken"} for event in told)
    nothing_impossible()


def test_a_deactivation_at_the_same_moment_as_an_accept_leaves_nobody_with_a_deactivated_mitra(
    two_instances, database, nothing_impossible
):
    """Either the accept comes too late, or the session has lost its mitra again."""
    service = two_instances
    for _ in range(8):
        mitra, session = service.mitra(), service.search()
        wait_until(lambda: session["id"] in service.requests(mitra), what="the offer")
        path = f"/internal/mitras/{mitra.id}"
        with ThreadPoolExecutor(2) as pool:
            accepted = pool.submit(service.accept, mitra, session)
            deactivated = pool.submit(
                service.instance.internal.patch, path, token=service.operator, json={"is_active": False}
            )
        assert deactivated.result().status == 200
        assert accepted.result().code in (None, "ACCOUNT_INACTIVE"), accepted.result()
        held = "SELECT count(*) FROM chat_sessions WHERE mitra_id = %s AND status = 'active' AND orphaned_at IS NULL"
        wait_until(lambda: database.value(held, mitra.id) == 0, what="the session to be an orphan")
        assert service.by_operator(session, "end").status == 200
    nothing_impossible()


@pytest.mark.deadline(600)
def test_10_mitras_never_have_more_than_3_of_50_sessions(two_instances, database, nothing_impossible):
    service = two_instances
    mitras = service.crowd(10)
    customers = [service.customer() for _ in range(50)]
    load = """SELECT max(n) FROM (SELECT count(*) AS n FROM chat_sessions
        WHERE status IN ('active', 'pending_payment') AND mitra_id IS NOT NULL GROUP BY mitra_id) l"""
    seen = Counter()

    def take_everything(mitra):
        answers = []
        for session in service.requests(mitra):
            answers.append(service.accept(mitra, {"id": session}))
        return answers

    with ThreadPoolExecutor(30) as pool:
        created = list(pool.map(service.create, customers))
        assert all(answer.status == 201 for answer in created)
        while database.value("SELECT count(*) FROM chat_sessions WHERE status = 'active'") < 30:
            for answers in pool.map(take_everything, mitras * 3):
                seen.update((answer.status, answer.code) for answer in answers)
            assert (database.value(load) or 0) <= 3
    assert seen[(200, None)] >= 30
    assert set(seen) <= {(200, None), (409, "REQUEST_TAKEN"), (409, "REQUEST_CLOSED"), (409, "AT_CAPACITY")}
    assert database.value("SELECT count(*) FROM chat_sessions WHERE status = 'active'") == 30
    nothing_impossible()

    # Whoever gets a free slot is offered the oldest of those who wait.
    oldest = database.value("SELECT id FROM chat_sessions WHERE status = 'searching' ORDER BY created_at LIMIT 1")
    freed = mitras[0]
    one = database.value("SELECT id FROM chat_sessions WHERE mitra_id = %s AND status = 'active' LIMIT 1", freed.id)
    assert service.of_mitra(freed, {"id": one}, "end").status == 200
    wait_until(lambda: oldest in service.requests(freed), what="the oldest to be offered")
