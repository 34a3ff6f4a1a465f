"""More time: the customer asks, the mitra answers, and the deadline moves."""

import datetime

from harness.wait import wait_until


def time(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def ask(service, session, minutes=15):
    return service.of_customer(session, "extensions", {"minutes": minutes})


def test_an_accepted_extension_moves_the_deadline(service, nothing_impossible):
    mitra, session = service.pair(minutes=30)
    asked = ask(service, session)
    assert asked.status == 201 and asked.json["status"] == "requested" and asked.json["minutes"] == 15
    assert service.event(mitra, "extension_requested") == {"extension_id": asked.json["id"], "minutes": 15}
    assert (ask(service, session).status, ask(service, session).code) == (409, "EXTENSION_ALREADY_OPEN")

    extended = service.of_mitra(mitra, session, f"extensions/{asked.json['id']}/accept")
    assert extended.status == 200
    moved = time(extended.json["expires_at"]) - time(session["expires_at"])
    assert moved == datetime.timedelta(minutes=15) and extended.json["duration_minutes"] == 45
    assert service.of_mitra(mitra, session, f"extensions/{asked.json['id']}/accept").json == extended.json
    assert service.events(session["customer"])[-1] == "extension_accepted"
    late = service.of_mitra(mitra, session, f"extensions/{asked.json['id']}/decline")
    assert (late.status, late.code) == (409, "EXTENSION_CLOSED")
    nothing_impossible()


def test_in_the_time_of_goodbye_an_extension_counts_from_now(service, nothing_impossible):
    service.configure(goodbye_seconds=600)
    mitra, session = service.pair(minutes=30)
    service.move(session, "expires_at", -10)
    wait_until(lambda: "session_time_up" in service.events(mitra), what="the time to be up")
    asked = ask(service, session, 5)
    extended = service.of_mitra(mitra, session, f"extensions/{asked.json['id']}/accept").json
    left = time(extended["expires_at"]) - datetime.datetime.now(datetime.timezone.utc)
    assert datetime.timedelta(minutes=4, seconds=30) < left <= datetime.timedelta(minutes=5)
    # So it ends anew, with all that belongs to that.
    service.move(session, "expires_at", 3)
    wait_until(lambda: service.events(mitra).count("session_time_up") == 2, what="the time to be up again")
    nothing_impossible()


def test_a_declined_extension_changes_nothing(service, nothing_impossible):
    mitra, session = service.pair()
    asked = ask(service, session)
    declined = service.of_mitra(mitra, session, f"extensions/{asked.json['id']}/decline")
    assert declined.status == 200 and declined.json["expires_at"] == session["expires_at"]
    assert [extension["status"] for extension in declined.json["extensions"]] == ["declined"]
    assert service.events(session["customer"])[-1] == "extension_declined"
    assert ask(service, session).status == 201, "the customer may ask again"
    nothing_impossible()


def test_an_extension_that_is_not_answered_lapses(service, nothing_impossible):
    mitra, session = service.pair()
    ask(service, session)
    service.move(session, "extension_until", 0)
    wait_until(lambda: "extension_expired" in service.events(session["customer"]), what="the extension to lapse")
    assert "extension_expired" in service.events(mitra)
    assert service.of_customer(session).json["extensions"][0]["status"] == "expired"
    nothing_impossible()


def test_where_sessions_are_paid_the_deadline_moves_with_the_payment(service, nothing_impossible):
    service.configure(payment_timing="after_match", price_per_minute=100)
    mitra, session = service.pair()
    service.confirm(session["payment"])
    started = service.of_mitra(mitra, session).json
    asked = ask(service, session, 10).json
    accepted = service.of_mitra(mitra, session, f"extensions/{asked['id']}/accept").json
    extension = accepted["extensions"][0]
    assert extension["status"] == "pending_payment" and extension["payment"]["amount"] == 1000
    assert accepted["expires_at"] == started["expires_at"] and accepted["payment"]["amount"] == 3000
    assert service.event(session["customer"], "session_payment_due")["extension_id"] == asked["id"]

    assert service.confirm(extension["payment"]).json["status"] == "paid"
    extended = service.of_customer(session).json
    assert time(extended["expires_at"]) - time(started["expires_at"]) == datetime.timedelta(minutes=10)
    assert extended["extensions"][0]["status"] == "accepted"
    assert service.confirm(extension["payment"]).status == 200
    assert service.of_customer(session).json == extended
    nothing_impossible()


def test_an_unpaid_extension_lapses_and_the_session_ends_in_time(service, nothing_impossible):
    service.configure(payment_timing="after_match")
    mitra, session = service.pair()
    service.confirm(session["payment"])
    asked = ask(service, session, 10).json
    service.of_mitra(mitra, session, f"extensions/{asked['id']}/accept")
    service.move(session, "extension_until", 0)
    wait_until(lambda: "extension_expired" in service.events(mitra), what="the extension to lapse")
    extension = service.of_customer(session).json["extensions"][0]
    assert (extension["status"], extension["payment"]["status"]) == ("expired", "expired")
    nothing_impossible()


def test_only_a_mitra_who_can_be_reached_is_asked(calm, valkey):
    # Calm, for a reseed would mend what is edited into the mirror here.
    mitra, session = calm.pair()
    stale = "2020-01-01T00:00:00.000Z"
    with valkey.client() as keys:
        keys.set(f"mitra:heartbeat:{mitra.id}", stale)
        refused = ask(calm, session)
        assert (refused.status, refused.code) == (409, "MITRA_UNREACHABLE")
    assert calm.of_customer(session).json["extensions"] == []


def test_without_the_mirror_the_truth_says_whether_the_mitra_can_be_reached(calm, valkey):
    # Calm, for a sweeper may still store the last heartbeats that it has read.
    mitra, session = calm.pair()
    valkey.stop()
    age = "UPDATE mitra_online_status SET last_heartbeat_at = now() - make_interval(secs => %s) WHERE mitra_id = %s"
    calm.database.execute(age, 100, mitra.id)
    assert ask(calm, session).code == "MITRA_UNREACHABLE"
    calm.database.execute(age, 0, mitra.id)
    assert ask(calm, session).status == 201


def test_an_extension_belongs_to_an_active_session_of_ones_own(service):
    _, session = service.pair()
    other = service.customer()
    foreign = service.instance.post(
        f"/api/client/sessions/{session['id']}/extensions", token=other.token, json={"minutes": 5})
    assert (foreign.status, foreign.code) == (404, "NOT_FOUND")
    for minutes in (0, -1, 1441, 2.5, "5", None):
        assert (ask(service, session, minutes).status, ask(service, session, minutes).code) == (400, "INVALID_REQUEST")
    assert ask(service, session, 1420).code == "INVALID_REQUEST", "a day is the most that a session may last"
    service.of_customer(session, "end")
    assert (ask(service, session).status, ask(service, session).code) == (409, "WRONG_SESSION_STATUS")
