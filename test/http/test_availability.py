"""Who is available: the beacon, the blast's list, reachability and the dashboard."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

import pytest

from harness import tokens
from harness.api import problem_of
from harness.wait import wait_until

BEACON = "/public/bestie-availability"
STALE = "2026-01-01T00:00:00.000Z"
NOBODY = "11111111-2222-4333-8444-555555555555"
SOON = 8  # seconds; the beacon's answer would be kept for ten


@pytest.fixture
def ask(mitrad, operator_token):
    """ask("dashboard"): what the control center reads under /internal/."""

    def ask(path):
        answer = mitrad.internal.get(f"/internal/{path}", token=operator_token)
        assert answer.status == 200, answer
        return answer.json

    return ask


@pytest.fixture
def available(ask):
    """available(): the list's entries by id; all tests of the module share one mirror, so look only at your own."""
    return lambda: {mitra["id"]: mitra for mitra in ask("availability")["mitras"]}


@pytest.fixture
def beacon(mitrad):
    def beacon():
        answer = mitrad.get(BEACON)
        assert answer.status == 200 and answer.json.keys() == {"available", "count", "as_of"}
        assert answer.json["available"] == (answer.json["count"] > 0)
        return answer.json["count"]

    return beacon


@pytest.fixture
def busy_mitra(online_mitra, make_session, show):
    """busy_mitra(load): one who is online with that many sessions, and the mirror shows it."""

    def make(load):
        mitra = online_mitra()
        for number in range(load):
            make_session(mitra, status=("active", "pending_payment")[number % 2])
        show(mitra)
        return mitra

    return make


# The beacon


def test_the_beacon_needs_no_token_and_minds_none(mitrad):
    for token in (None, "nonsense", tokens.mint("customer")):
        assert mitrad.get(BEACON, token=token).status == 200


def test_the_beacon_turns_green_as_soon_as_a_mitra_comes_online(beacon, online_mitra, mitrad):
    for _ in range(3):
        before = beacon()
        mitra = online_mitra()
        wait_until(lambda: beacon() == before + 1, SOON, "the beacon to see who came")
        mitrad.post("/api/mitra/status/offline", token=mitra.token)
        wait_until(lambda: beacon() == before, SOON, "the beacon to see who left")


def test_the_beacon_is_an_answer_that_is_kept_for_ten_seconds(mitrad, mirror):
    mirror.delete("availability:snapshot")
    answer = mitrad.get(BEACON)
    wait_until(lambda: mirror.exists("availability:snapshot"), what="the snapshot")
    assert json.loads(mirror.get("availability:snapshot")) == answer.json
    assert 0 < mirror.pttl("availability:snapshot") <= 10_000


def test_the_beacon_says_when_it_was_computed(mitrad, mirror):
    def at(answer):
        return datetime.strptime(answer["as_of"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)

    mirror.delete("availability:snapshot")
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    first = mitrad.get(BEACON).json
    assert before <= at(first) <= datetime.now(timezone.utc)
    assert mitrad.get(BEACON).json == first
    mirror.delete("availability:snapshot")
    assert at(mitrad.get(BEACON).json) > at(first)
    wait_until(lambda: mirror.exists("availability:snapshot"), what="its store, which nobody waited for")


def test_the_beacon_is_read_from_what_is_kept(mitrad, mirror):
    mirror.set("availability:snapshot", '{"available":true,"count":4711}', ex=10)
    assert [mitrad.get(BEACON).json["count"] for _ in range(5)] == [4711] * 5
    mirror.delete("availability:snapshot")
    assert mitrad.get(BEACON).json["count"] != 4711


@pytest.mark.parametrize(
    "nonsense", ["", "{", "null", "<html>", '{"available":"', "\x00\xff", '{"available":' + "9" * 99 + "}"]
)
def test_nonsense_in_place_of_what_is_kept_is_replaced(mitrad, beacon, mirror, nonsense):
    right = beacon()
    mirror.set("availability:snapshot", nonsense)
    assert beacon() == right
    wait_until(lambda: mirror.get("availability:snapshot") != nonsense, what="the right snapshot")
    kept = json.loads(mirror.get("availability:snapshot"))
    assert (kept["available"], kept["count"]) == (right > 0, right)


def test_a_beacon_poll_costs_postgresql_no_statement(beacon, mirror, database, online_mitra):
    online_mitra()
    with database.statements() as ran:
        for number in range(200):
            if number % 10 == 0:
                mirror.delete("availability:snapshot")
            beacon()
    assert ran.for_requests == 0, ran.calls


def test_however_many_poll_one_process_of_the_cluster_computes(mitrad, mitrad_factory, mirror, online_mitra):
    online_mitra()
    cluster = [mitrad, mitrad_factory(VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=0)]
    mirror.delete("availability:snapshot")
    mirror.config_resetstat()
    with ThreadPoolExecutor(24) as pool:
        answers = list(pool.map(lambda number: cluster[number % 2].get(BEACON).text, range(120)))
    assert len(set(answers)) == 1
    assert mirror.info("commandstats")["cmdstat_scard"]["calls"] == 2, "of the two sets"


# Who is on the list


def test_an_entry_says_who_how_busy_and_when_last_heard(online_mitra, available, mirror):
    mitra = online_mitra()
    heard = mirror.get(f"mitra:heartbeat:{mitra.id}")
    assert available()[mitra.id] == {"id": mitra.id, "sessions": 0, "last_heartbeat_at": heard}


def test_a_limit_gives_the_first_of_the_list(busy_mitra, mitrad, operator_token):
    for load in (2, 0, 1):
        busy_mitra(load)

    def ask(query):
        return mitrad.internal.get("/internal/availability" + query, token=operator_token)

    everybody = ask("").json["mitras"]
    assert ask("?limit=2").json["mitras"] == everybody[:2]
    assert ask("?limit=10000").json["mitras"] == everybody
    for bad in ("0", "-1", "10001", "x", "1x"):
        refused = ask(f"?limit={bad}")
        assert (refused.status, refused.code) == (400, "INVALID_REQUEST")


def test_the_least_busy_come_first(busy_mitra, ask):
    mitras = {busy_mitra(load).id: load for load in (2, 0, 1, 0, 2, 1)}
    listed = [(mitra["sessions"], mitra["id"]) for mitra in ask("availability")["mitras"] if mitra["id"] in mitras]
    assert listed == sorted((load, mitra) for mitra, load in mitras.items())


def test_a_mitra_is_available_below_the_limit_and_not_at_it(busy_mitra, available):
    below, full, beyond = busy_mitra(2), busy_mitra(3), busy_mitra(4)
    listed = available()
    assert listed[below.id]["sessions"] == 2
    assert full.id not in listed and beyond.id not in listed


def test_who_was_not_heard_is_not_available_and_one_heartbeat_mends_it(online_mitra, available, mirror, mitrad):
    mitra = online_mitra()
    mirror.set(f"mitra:heartbeat:{mitra.id}", STALE)
    assert mitra.id not in available()
    mitrad.post("/api/mitra/status/heartbeat", token=mitra.token)
    assert mitra.id in available()


def test_who_is_offline_or_deactivated_is_not_available(online_mitra, make_mitra, mitrad, operator_token, available):
    never, gone, banned = make_mitra(), online_mitra(), online_mitra()
    mitrad.post("/api/mitra/status/offline", token=gone.token)
    mitrad.internal.patch(f"/internal/mitras/{banned.id}", token=operator_token, json={"is_active": False})
    assert not {never.id, gone.id, banned.id} & available().keys()


def test_the_list_and_reachability_ask_only_the_mirror(online_mitra, ask, database):
    mitra = online_mitra()
    with database.statements() as ran:
        assert ask("availability")["source"] == "valkey"
        assert ask(f"mitras/{mitra.id}/reachability") == {"reachable": True, "source": "valkey"}
    assert ran.for_requests == 0, ran.calls


def test_a_mirror_larger_than_one_question_is_listed_whole(mitrad_factory, valkey_factory, postgres, operator_token):
    database, valkey = postgres.create_database(), valkey_factory()
    for number in range(2500):
        database.execute(
            "WITH m AS (INSERT INTO mitras (phone) VALUES (%s) RETURNING id)"
            " INSERT INTO mitra_online_status SELECT id, true, now(), now() FROM m",
            f"+62{number}",
        )
    mitrad = mitrad_factory(DATABASE_URL=database.url, VALKEY_URL=valkey.url)
    answer = mitrad.internal.get("/internal/availability", token=operator_token).json
    assert answer["source"] == "valkey" and len({mitra["id"] for mitra in answer["mitras"]}) == 2500
    answer = mitrad.get(BEACON).json
    assert (answer["available"], answer["count"]) == (True, 2500)
    mitrad.stop()
    database.drop()


# Reachability


def test_reachability_does_not_look_at_the_load(busy_mitra, ask, available):
    full = busy_mitra(3)
    assert full.id not in available()
    assert ask(f"mitras/{full.id}/reachability")["reachable"] is True


def test_who_is_offline_silent_or_deactivated_is_not_reachable(
    online_mitra, make_mitra, mitrad, ask, mirror, operator_token
):
    offline, silent, banned = make_mitra(), online_mitra(), online_mitra()
    mirror.set(f"mitra:heartbeat:{silent.id}", STALE)
    mitrad.internal.patch(f"/internal/mitras/{banned.id}", token=operator_token, json={"is_active": False})
    for mitra in (offline, silent, banned):
        assert ask(f"mitras/{mitra.id}/reachability") == {"reachable": False, "source": "valkey"}


# The dashboard

NUMBERS = {
    *("online_mitras", "available_mitras", "deactivated_mitras"),
    *("active_sessions", "searching_sessions", "pending_payment_sessions"),
}


def test_the_dashboard_counts_what_is_there(
    ask, online_mitra, busy_mitra, make_mitra, make_session, mirror, mitrad, operator_token
):
    before = ask("dashboard")
    assert before["source"] == "valkey" and NUMBERS <= before.keys()
    busy_mitra(3)
    busy_mitra(1)
    silent, banned = online_mitra(), make_mitra()
    mirror.set(f"mitra:heartbeat:{silent.id}", STALE)
    mitrad.internal.patch(f"/internal/mitras/{banned.id}", token=operator_token, json={"is_active": False})
    make_session(status="searching")
    make_session(status="ended")
    after = ask("dashboard")
    assert {name: after[name] - before[name] for name in NUMBERS} == {
        "online_mitras": 3,
        "available_mitras": 1,
        "deactivated_mitras": 1,
        "active_sessions": 3,
        "searching_sessions": 1,
        "pending_payment_sessions": 1,
    }


def test_the_dashboard_costs_one_statement(ask, database):
    with database.statements() as ran:
        ask("dashboard")
    assert ran.for_requests == 1, ran.calls


@pytest.mark.parametrize("path", ["availability", "dashboard", f"mitras/{NOBODY}/reachability"])
def test_these_are_for_operators(mitrad, path, customer_token):
    problem_of(mitrad.internal.get(f"/internal/{path}"), 401, "UNAUTHENTICATED")
    problem_of(mitrad.internal.get(f"/internal/{path}", token=customer_token()), 403, "WRONG_USER_TYPE")
