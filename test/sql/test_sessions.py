"""Sessions whose time has come are settled, once, and their mitras' load with them."""

import pytest


@pytest.fixture
def overdue(database, make_session):
    """overdue(mitra, status, column, age): a session whose column lies so many seconds back."""

    def make(mitra, status, column, age):
        session = make_session(mitra, status=status)
        database.execute("UPDATE chat_sessions SET created_at = now() - interval '1 day' WHERE id = %s", session)
        past = f"UPDATE chat_sessions SET {column} = now() - make_interval(secs => %s) WHERE id = %s"
        database.execute(past, age, session)
        return session

    return make


def settled(database, session):
    row = database.one("SELECT status, end_reason, ended_at IS NOT NULL AS ended FROM chat_sessions WHERE id = %s",
        session)
    return row["status"], row["end_reason"], row["ended"]


@pytest.mark.parametrize("status, column, limit, outcome", [
    ("active", "expires_at", 30, ("ended", "expired", True)),
    ("pending_payment", "created_at", 900, ("cancelled", "payment_timeout", True)),
    ("pending_payment", "matched_at", 900, ("cancelled", "payment_timeout", True)),
    ("searching", "created_at", 60, ("unmatched", "blast_timeout", True)),
    ("searching", "searching_since", 60, ("unmatched", "blast_timeout", True)),
])
def test_a_session_is_settled_after_its_limit_and_not_before(
    database, rows_of, make_mitra, overdue, status, column, limit, outcome
):
    early = overdue(make_mitra(), status, column, limit - 20)
    late = overdue(make_mitra(), status, column, limit + 1)
    rows_of("sessions_settle")
    assert settled(database, early) == (status, None, False)
    assert settled(database, late) == outcome


def test_an_active_session_without_an_end_goes_on(database, rows_of, make_mitra, make_session):
    session = make_session(make_mitra())
    rows_of("sessions_settle")
    assert settled(database, session) == ("active", None, False)


def test_the_relieved_mitras_are_returned_with_their_new_load(rows_of, make_mitra, make_session, overdue):
    busy, idle = make_mitra(), make_mitra()
    overdue(busy, "active", "expires_at", 100)
    overdue(busy, "pending_payment", "matched_at", 1000)
    make_session(busy)
    overdue(None, "searching", "created_at", 100)
    make_session(idle)
    got = [row for row in rows_of("sessions_settle") if row["mitra_id"]]
    assert [(row["mitra_id"], row["sessions"], row["version"]) for row in got] == [(busy.id, 1, 6)]
    assert rows_of("sessions_settle") == []


def test_the_open_offers_of_a_settled_search_are_closed(database, rows_of, make_mitra, overdue):
    session = overdue(None, "searching", "created_at", 100)
    for status in ("sent", "declined", "sent"):
        database.execute(
            "INSERT INTO chat_request_notifications (session_id, mitra_id, status) VALUES (%s, %s, %s)",
            *(session, make_mitra().id, status),
        )
    rows_of("sessions_settle")
    offers = database.rows("SELECT status FROM chat_request_notifications ORDER BY status")
    assert [offer["status"] for offer in offers] == ["closed", "closed", "declined"]


def test_two_settles_at_once_share_the_work_without_waiting(database, rival, make_mitra, overdue):
    mitras = [make_mitra() for _ in range(3)]
    for mitra in mitras:
        overdue(mitra, "active", "expires_at", 100)
    one, other = rival(), rival()
    first = one.call("sessions_settle")
    second = other.call("sessions_settle")
    assert {row["mitra_id"] for row in first if row["mitra_id"]} == {mitra.id for mitra in mitras}
    assert second == []
    one.commit()
    other.commit()
    assert database.value("SELECT count(*) FROM chat_sessions WHERE end_reason = 'expired'") == 3


def test_a_session_that_a_request_holds_is_left_to_it(database, rival, rows_of, make_mitra, overdue):
    session = overdue(make_mitra(), "active", "expires_at", 100)
    request = rival()
    request.execute("UPDATE chat_sessions SET expires_at = now() + interval '1 hour' WHERE id = %s", session)
    assert rows_of("sessions_settle") == []
    request.commit()
    assert rows_of("sessions_settle") == []
    assert settled(database, session) == ("active", None, False)


def test_a_call_settles_a_thousand_at_most(database, rows_of):
    database.execute("INSERT INTO customers (display_name) SELECT 'c' FROM generate_series(1, 1001)")
    database.execute(
        "INSERT INTO chat_sessions (customer_id, created_at) SELECT id, now() - interval '1 day' FROM customers")
    left = "SELECT count(*) FROM chat_sessions WHERE status = 'searching'"
    rows_of("sessions_settle")
    assert database.value(left) == 1
    rows_of("sessions_settle")
    assert database.value(left) == 0


def test_a_call_closes_some_ten_thousand_offers_and_leaves_the_rest_to_the_next(database, rows_of):
    """However many searches of however many mitras run out in one moment, no statement runs into its limit of time."""
    database.execute("INSERT INTO customers (display_name) SELECT 'c' FROM generate_series(1, 4)")
    database.execute("INSERT INTO mitras (phone, display_name) SELECT n, 'm' FROM generate_series(1, 6000) n")
    database.execute(
        "INSERT INTO chat_sessions (customer_id, created_at) SELECT id, now() - interval '1 day' FROM customers")
    database.execute(
        "INSERT INTO chat_request_notifications (session_id, mitra_id) SELECT c.id, m.id FROM chat_sessions c, mitras m")
    left = "SELECT count(*) FROM chat_request_notifications WHERE status = 'sent'"
    rows_of("sessions_settle")
    assert database.value(left) == 12000
    rows_of("sessions_settle")
    assert database.value(left) == 0
    assert database.value("SELECT count(*) FROM chat_sessions WHERE status = 'unmatched'") == 4


def test_a_customer_has_one_open_session(database, make_session, make_customer):
    customer = make_customer()
    first = make_session(customer=customer, status="searching")
    refused = """INSERT INTO chat_sessions (customer_id, status) VALUES (%s, 'pending_payment')
        ON CONFLICT DO NOTHING"""
    assert database.execute(refused, customer.id) == 0
    database.execute("UPDATE chat_sessions SET status = 'cancelled' WHERE id = %s", first)
    assert database.execute(refused, customer.id) == 1
