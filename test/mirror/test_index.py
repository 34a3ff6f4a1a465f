"""
The index of who is available: the same answer as the search through all, without the search.

With few online mitrad searches, so there is a crowd here.  `mitrad_mirror_searches_total` tells which of the two answered.
"""

import random
import uuid

import pytest

from harness import people
from harness.mitrad import CALM
from harness.wait import holds_for, wait_until

CROWD = 1500
BEACON = "/public/bestie-availability"
LONG_AGO = "2020-01-01T00:00:00.000Z"


@pytest.fixture
def crowd(database):
    """1,500 mitras, nine of ten online, one of twenty deactivated, with loads of 0 to 4; who has which is chance."""
    seed = random.random()
    print(f"setseed({seed})")
    database.execute(f"SELECT setseed({seed})")
    database.execute(
        f"""INSERT INTO mitras (phone, display_name, is_active)
            SELECT '+62811' || lpad(n::text, 7, '0'), 'Mitra ' || n, random() < 0.95 FROM generate_series(1, {CROWD}) n"""
    )
    database.execute(
        """INSERT INTO mitra_online_status (mitra_id, is_online, online_since, last_heartbeat_at)
           SELECT id, random() < 0.9, now(), now() FROM mitras"""
    )
    database.execute(
        """WITH loads AS (SELECT id, floor(random() * 5)::integer AS load FROM mitras),
              places AS (SELECT l.id AS mitra, gen_random_uuid() AS customer FROM loads l, generate_series(1, l.load)),
              made AS (INSERT INTO customers (id) SELECT customer FROM places)
           INSERT INTO chat_sessions (customer_id, mitra_id, status, duration_minutes, matched_at, started_at, expires_at)
           SELECT customer, mitra, 'active', 30, now(), now(), now() + interval '30 minutes' FROM places"""
    )


@pytest.fixture
def waves_of_twenty(database):
    """Before the instance starts, so that it begins with it."""
    database.execute("UPDATE app_config SET value = '20' WHERE key = 'blast_wave_size'")


@pytest.fixture
def instance(crowd, mitrad_factory):
    return mitrad_factory(arrangement=CALM, WORKERS=1)


@pytest.fixture
def count(instance, mirror):
    """What the beacon says, computed anew."""

    def compute():
        mirror.keys.delete("availability:snapshot")
        return instance.get(BEACON).json["count"]

    return compute


@pytest.fixture
def listed(instance, operator_token):
    """{id: sessions} by the search, which is the definition."""

    def ask():
        answer = instance.internal.get("/internal/availability", token=operator_token).json
        assert answer["source"] == "valkey"
        return {mitra["id"]: mitra["sessions"] for mitra in answer["mitras"]}

    return ask


@pytest.fixture
def searches(instance, listed):
    """How many searches there have been, those that were made to know it not counted."""
    made = []

    def number():
        made.append(listed())
        # The counters come once a second; the last search is in them when they have reached it.
        wait_until(lambda: instance.metric("mitrad_mirror_searches_total") >= len(made), 10, "the counters")
        return instance.metric("mitrad_mirror_searches_total") - len(made)

    return number


def silence(mirror, ids):
    """As a sweep leaves those who have not been heard of: noted, though online still."""
    for id in ids:
        mirror.keys.set(f"mitra:heartbeat:{id}", LONG_AGO)
        mirror.keys.sadd("mirror:silent", id)


def test_the_index_counts_what_the_search_finds_and_does_not_search(mirror, count, listed, searches):
    before = searches()
    assert count() == len(listed()) > 500
    online = sorted(mirror.keys.smembers("mitras:online"))
    silence(mirror, random.sample(online, 40))
    mirror.keys.sadd("mirror:silent", *random.sample(online, 40), str(uuid.uuid4()))
    assert count() == len(listed()) > 500
    assert searches() - before == 2, "those of the list"


def test_it_follows_every_transition(instance, mirror, count, listed, searches, make_mitra, operator_token):
    before = searches()
    mitra, expected = make_mitra(), count()
    for path, change in (("online", 1), ("offline", -1), ("online", 1)):
        assert instance.post(f"/api/mitra/status/{path}", token=mitra.token).status == 200
        expected += change
        assert count() == expected
    for active, change in ((False, -1), (True, 0)):
        path = f"/internal/mitras/{mitra.id}"
        assert instance.internal.patch(path, token=operator_token, json={"is_active": active}).status == 200
        expected += change
        assert count() == expected
    assert searches() == before
    assert count() == len(listed())


@pytest.mark.parametrize(
    "damage",
    [
        lambda keys: keys.delete("mirror:heard"),
        lambda keys: keys.set("mirror:heard", LONG_AGO),
        lambda keys: keys.set("mirror:heard", "nonsense"),
        lambda keys: keys.delete("mirror:ranking"),
        lambda keys: keys.zremrangebyrank("mirror:ranking", 0, 9),
        lambda keys: keys.set("mirror:ranking", "text") if keys.delete("mirror:ranking") else None,
        lambda keys: keys.set("mirror:silent", "text") if keys.delete("mirror:silent") in (0, 1) else None,
        lambda keys: keys.sadd("mirror:silent", *(str(uuid.uuid4()) for _ in range(1001))),
    ],
    ids=["unswept", "long ago", "no time", "lost", "edited", "ranking no set", "silent no set", "too many silent"],
)
def test_an_index_that_cannot_be_used_is_not(mirror, count, listed, searches, damage):
    before = searches()
    damage(mirror.keys)
    assert count() == len(listed())
    assert searches() - before > 1, "the beacon's search, besides that of the list"


def test_a_reseed_rebuilds_a_damaged_index(mirror, count, listed, searches):
    mirror.keys.zremrangebyrank("mirror:ranking", 0, 99)
    assert mirror.command("verify").returncode == 1
    mirror.reseed()
    assert mirror.command("verify").returncode == 0
    assert mirror.equal()
    before = searches()
    assert count() == len(listed())
    assert searches() - before == 1


def test_a_wave_is_offered_to_the_least_busy_of_those_who_are_fresh(
    waves_of_twenty, instance, mirror, database, listed, searches
):
    idle = [id for id, load in listed().items() if load == 0]
    silence(mirror, random.sample(idle, len(idle) - 10))
    list_of = listed()
    before = searches()

    customer = people.make_customer(database)
    answer = instance.post("/api/client/sessions", token=customer.token, json={"duration_minutes": 30})
    assert answer.status == 201, answer
    offered = database.rows(
        "SELECT mitra_id::text AS id FROM chat_request_notifications WHERE session_id = %s", answer.json["id"]
    )
    assert sorted(list_of[offer["id"]] for offer in offered) == [0] * 10 + [1] * 10
    assert searches() == before


def test_a_short_list_is_of_the_least_busy_and_needs_no_search(instance, listed, searches, operator_token):
    before, everybody = searches(), listed()
    short = instance.internal.get("/internal/availability?limit=50", token=operator_token).json["mitras"]
    assert [mitra["sessions"] for mitra in short] == sorted(everybody.values())[:50]
    assert {mitra["id"]: mitra["sessions"] for mitra in short}.items() <= everybody.items()
    assert searches() - before == 1, "that of the whole list"


def test_a_sweep_notes_who_was_not_heard_lately_and_forgets_who_is_heard_again(
    mirror, listening, make_mitra, mitrad_factory, iso, set_limit
):
    set_limit(stale_after_seconds=400)
    mitras = [make_mitra() for _ in range(30)]
    quiet = {mitra.id for mitra in mitras[:5]}
    for mitra in mitras:
        mirror.put_online(mitra, heard_ago=300 if mitra.id in quiet else 1)
    mitrad_factory("--role", "sweeper", arrangement=CALM, MITRA_AUTO_OFFLINE_SWEEP_SECONDS=1)
    wait_until(lambda: mirror.keys.smembers("mirror:silent") == quiet, what="the quiet ones to be noted")
    assert iso(260) < mirror.keys.get("mirror:heard") < iso(190)
    mirror.beat(mitras[0])
    quiet.discard(mitras[0].id)
    wait_until(lambda: mirror.keys.smembers("mirror:silent") == quiet, what="who was heard again to be forgotten")
    holds_for(lambda: mirror.keys.smembers("mirror:silent") == quiet, 3)
