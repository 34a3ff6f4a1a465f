"""
An accept against whatever else decides the same session, in one moment, from two instances: one of them comes first, the
other is told so, and the truth is what the answers say.  PAIRING_RACES sets how often.
"""

import os
import random
import threading

import pytest

from harness.at_once import Ask, ask_at_once
from harness.wait import wait_until

RACES = int(os.environ.get("PAIRING_RACES", "15"))
MITRAS = 8


class Race:
    """A session, the mitras to whom it is offered, and what everybody does at once."""

    def __init__(self, service, mitras):
        self.service = service
        self.mitras = mitras
        self.session = service.search()
        self.accepts = [self.ask(mitra, f"/api/mitra/requests/{self.session['id']}/accept") for mitra in mitras]

    def ask(self, person, path, json=None):
        return Ask(self.service.instance.public, "POST", path, person.token, json)

    def of_operator(self, method, path, json):
        return Ask(self.service.instance.internal, method, path, self.service.operator, json)

    def run(self, *rivals):
        """The rivals' answers; `codes` are then those of the accepts, None for the winner's."""
        asks = [*self.accepts, *rivals]
        order = random.sample(range(len(asks)), len(asks))
        answers = dict(zip(order, ask_at_once([asks[place] for place in order])))
        assert all(answer.status < 500 for answer in answers.values()), answers
        self.codes = [answers[place].code for place in range(len(self.accepts))]
        self.row = self.service.row(self.session)
        return [answers[place] for place in range(len(self.accepts), len(asks))]

    def winner(self):
        """The only one; None if there is none."""
        won = [mitra for mitra, code in zip(self.mitras, self.codes) if code is None]
        assert len(won) <= 1, f"{len(won)} winners"
        return won[0] if won else None

    def losers_were_told(self, code):
        assert {lost for lost in self.codes if lost is not None} <= {code}

    def over(self):
        self.service.by_operator(self.session, "end")


@pytest.fixture
def races(two_instances, nothing_impossible):
    """races(): as many Races as were asked for, one after the other; in the end nothing is impossible."""
    service = two_instances
    service.configure(max_customers_per_mitra=3, blast_timeout_seconds=60, orphan_grace_seconds=0, no_answer_limit=0)
    mitras = service.crowd(MITRAS)

    def races():
        accepted = 0
        for _ in range(RACES):
            wait_until(lambda: all_can_accept(service), what="everybody to be free")
            race = Race(service, mitras)
            yield race
            accepted += None in race.codes
            race.over()
        print(f"\nan accept came first, or in time, in {accepted} of {RACES} races")
        nothing_impossible()

    return races


def all_can_accept(service):
    return service.instance.get("/public/bestie-availability").json["count"] == MITRAS


def test_of_a_cancel_and_an_accept_at_once_one_comes_too_late(races):
    for race in races():
        customer = race.session["customer"]
        cancelled, = race.run(race.ask(customer, f"/api/client/sessions/{race.session['id']}/cancel"))
        winner = race.winner()
        if winner is None:
            assert cancelled.status == 200 and race.row["status"] == "cancelled"
            race.losers_were_told("REQUEST_CLOSED")
        else:
            assert cancelled.code == "WRONG_SESSION_STATUS"
            assert (race.row["status"], race.row["mitra_id"]) == ("active", winner.id)
            race.losers_were_told("REQUEST_TAKEN")


def test_of_the_end_of_the_search_and_an_accept_at_once_one_comes_too_late(races, database):
    for race in races():
        race.service.move(race.session, "created_at", -61)
        # One sweeper more, at a moment of its own.
        sweeper = threading.Timer(random.random() / 50, database_of_its_own(database, "SELECT mitrad.sessions_settle()"))
        sweeper.start()
        race.run()
        sweeper.join()
        winner = race.winner()
        if winner is None:
            assert (race.row["status"], race.row["end_reason"]) == ("unmatched", "blast_timeout")
            race.losers_were_told("REQUEST_CLOSED")
        else:
            assert (race.row["status"], race.row["mitra_id"]) == ("active", winner.id)
            race.losers_were_told("REQUEST_TAKEN")


def database_of_its_own(database, sql):
    def execute():
        connection = database.connect()
        with connection.cursor() as cursor:
            cursor.execute(sql)
        connection.close()

    return execute


def test_a_reroute_at_the_moment_of_an_accept_has_the_last_word(races):
    for race in races():
        chosen, race.mitras, race.accepts = race.mitras[0], race.mitras[1:], race.accepts[1:]
        path = f"/internal/sessions/{race.session['id']}/reroute"
        moved, = race.run(race.of_operator("POST", path, {"mitra_id": chosen.id}))
        assert moved.status == 200 and race.row["status"] == "active"
        assert race.row["mitra_id"] == chosen.id, "whoever came first, the operator's word is the last"
        matched = race.service.events(race.session["customer"]).count("session_matched")
        assert matched == (1 if race.winner() is None else 2)
        race.losers_were_told("REQUEST_TAKEN")


def test_a_deactivation_at_the_moment_of_his_accept_leaves_nobody_with_a_deactivated_mitra(races, database):
    for race in races():
        gone = race.mitras[0]
        race.accepts = race.accepts[:1]
        path = f"/internal/mitras/{gone.id}"
        deactivated, = race.run(race.of_operator("PATCH", path, {"is_active": False}))
        assert deactivated.status == 200
        assert race.codes[0] in (None, "ACCOUNT_INACTIVE")
        # If he won, the session is an orphan, and without any grace searches for another mitra.
        wait_until(lambda: race.service.status(race.session) == "searching", what="the search to go on")
        matched = race.service.events(race.session["customer"]).count("session_matched")
        assert matched == (1 if race.codes[0] is None else 0)
        back = race.service.instance.internal.patch(path, token=race.service.operator, json={"is_active": True})
        assert back.status == 200
        race.over()
        race.service.go_online(gone)


def test_who_goes_offline_at_the_moment_of_his_accept_has_the_session_or_is_told_that_he_has_not(races):
    for race in races():
        gone = race.mitras[0]
        race.accepts = race.accepts[:1]
        offline, = race.run(race.ask(gone, "/api/mitra/status/offline"))
        assert offline.status == 200
        if race.winner() is None:
            assert race.codes == ["REQUEST_CLOSED"] and race.row["status"] == "searching"
        else:
            assert (race.row["status"], race.row["mitra_id"]) == ("active", gone.id), "he finishes what he has begun"
        race.over()
        race.service.go_online(gone)


def test_who_accepts_several_times_at_once_has_won_once_and_is_told_so_each_time(races):
    for race in races():
        one = race.mitras[0]
        race.accepts = race.accepts[:1]
        again = race.run(*[race.ask(one, f"/api/mitra/requests/{race.session['id']}/accept") for _ in range(5)])
        assert race.codes == [None] and {answer.status for answer in again} == {200}
        assert race.service.events(one, race.session).count("session_matched") == 1
        assert race.service.events(race.session["customer"]).count("session_started") == 1
