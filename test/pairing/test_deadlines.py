"""Each deadline acts within a second of its time, once, whoever is running."""

import time

from harness.mitrad import Mitrad
from harness.wait import wait_until

# A deadline that is due in `AHEAD` seconds must have acted after that and at most so much later.
AHEAD = 2
GENEROUS = 5.0


def lateness(service, session, status, column, limit):
    """By how many seconds the session changes its status after its time, `limit` seconds after `column`."""
    service.move(session, column, AHEAD - limit)
    due = service.database.value("SELECT mitrad.session_closes_at(c) FROM chat_sessions c WHERE id = %s", session["id"])
    wait_until(lambda: service.status(session) == status, what=status)
    ended = service.database.value("SELECT ended_at FROM chat_sessions WHERE id = %s", session["id"])
    return (ended - due).total_seconds()


def test_deadlines_fire_within_a_second_of_their_time(service, nothing_impossible):
    found = {}
    service.configure(payment_timing="before_match")
    found["payment"] = lateness(service, service.search(), "cancelled", "created_at", 900)
    service.configure(payment_timing="none")
    found["search"] = lateness(service, service.search(), "unmatched", "created_at", 60)
    _, session = service.pair()
    found["goodbye"] = lateness(service, session, "ended", "expires_at", 30)
    assert all(0 <= late < GENEROUS for late in found.values()), found
    nothing_impossible()


def test_a_nearer_deadline_that_a_request_sets_is_met_though_nobody_polls(service, nothing_impossible):
    service.configure(blast_timeout_seconds=5)
    began = time.monotonic()
    session = service.search()
    wait_until(lambda: service.status(session) == "unmatched", what="the end of the search")
    assert 4.9 <= time.monotonic() - began < 5 + GENEROUS
    nothing_impossible()


def test_a_session_is_warned_then_told_to_say_goodbye_then_ended(service, nothing_impossible):
    service.configure(session_warning_seconds=60, goodbye_seconds=600)
    mitra, session = service.pair(minutes=2)
    for person in (session["customer"], mitra):
        assert "session_warning" not in service.events(person)
    service.move(session, "expires_at", 59)
    wait_until(lambda: "session_warning" in service.events(mitra), what="the warning")
    assert service.of_customer(session).json["status"] == "active"
    service.move(session, "expires_at", 1)
    wait_until(lambda: "session_time_up" in service.events(mitra), what="the time to be up")
    assert service.of_customer(session).json["status"] == "active"
    service.move(session, "expires_at", -600)
    wait_until(lambda: service.status(session) == "ended", what="the end")
    ended = service.of_customer(session).json
    assert ended["end_reason"] == "expired"
    life = ["session_matched", "session_started", "session_warning", "session_time_up", "session_ended"]
    assert service.events(session["customer"]) == life
    assert service.events(mitra) == ["request_offered", *life]
    nothing_impossible()


def test_in_the_time_of_goodbye_the_session_is_still_active(service):
    service.configure(goodbye_seconds=3600)
    mitra, session = service.pair()
    service.move(session, "expires_at", -1)
    wait_until(lambda: "session_time_up" in service.events(mitra), what="the time to be up")
    assert service.of_mitra(mitra, session).json["status"] == "active"


def test_what_ran_out_while_nothing_was_running_is_settled_before_the_listeners_open(
    service, mitrad_factory, nothing_impossible
):
    _, active = service.pair()
    service.configure(payment_timing="before_match")
    unpaid = service.search()
    service.configure(payment_timing="none")
    searching = service.search()
    for instance in service.instances:
        instance.stop()
    service.move(active, "expires_at", -3600)
    service.move(unpaid, "created_at", -3600)
    service.move(searching, "created_at", -3600)

    statuses = []
    late = mitrad_factory(start=False)
    late.start(ready=False)
    wait_until(lambda: _answers(late), 60, "the listener to open")
    for session in (active, unpaid, searching):
        statuses.append(service.status(session))
    assert statuses == ["ended", "cancelled", "unmatched"]
    nothing_impossible()


def _answers(instance: Mitrad):
    """Before it is ready nobody can connect."""
    return instance.get("/livez").status == 200


def test_an_edit_that_somebody_left_open_keeps_what_is_overdue_waiting_but_not_the_start(service, mitrad_factory, database):
    _, session = service.pair()
    for instance in service.instances:
        instance.stop()
    service.move(session, "expires_at", -3600)
    with database.holding("UPDATE app_config SET value = '31' WHERE key = 'goodbye_seconds'"):
        late = mitrad_factory()
        assert late.messages("[deadlines] failed")
        assert service.status(session) == "active"
    wait_until(lambda: service.status(session) == "ended", what="the end")


def test_of_two_instances_each_deadline_acts_once(two_instances, nothing_impossible):
    service = two_instances
    pairs = [service.pair() for _ in range(6)]
    for _, session in pairs:
        service.move(session, "expires_at", -31)
    for mitra, session in pairs:
        wait_until(lambda: service.status(session) == "ended", what="the end")
        assert service.events(mitra, session).count("session_ended") == 1
        assert service.events(session["customer"]).count("session_ended") == 1
    nothing_impossible()


def test_without_valkey_deadlines_are_met_too(service, valkey, nothing_impossible):
    _, session = service.pair()
    valkey.stop()
    assert 0 <= lateness(service, session, "ended", "expires_at", 30) < GENEROUS
    valkey.start()
    nothing_impossible()


def test_a_changed_configuration_counts_for_sessions_under_way(service, nothing_impossible):
    mitra, session = service.pair()
    service.move(session, "expires_at", -10)
    service.configure(goodbye_seconds=0)
    wait_until(lambda: service.status(session) == "ended", what="the end")
    nothing_impossible()
