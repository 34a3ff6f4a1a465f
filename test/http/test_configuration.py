"""The operators' settings in app_config: checked, kept, and taken up everywhere at once."""

import json

import pytest

from harness.api import fields_of, problem_of
from harness.mitrad import CALM
from harness.wait import wait_until

CONFIG = "/internal/config"
SOON = 8  # seconds; the beacon's answer would be kept for ten


@pytest.fixture(autouse=True)
def defaults(mitrad, database, operator_token):
    """Every test begins with the defaults, and leaves them."""
    rows = database.rows('SELECT key, "default" FROM app_config_definitions')
    yield
    everything = {row["key"]: row["default"] for row in rows}
    assert mitrad.internal.patch(CONFIG, token=operator_token, json=everything).status == 200


@pytest.fixture
def read(mitrad, operator_token):
    return lambda: mitrad.internal.get(CONFIG, token=operator_token).json


@pytest.fixture
def change(mitrad, operator_token):
    """change(key=value, …): the PATCH's answer."""
    return lambda instance=None, **values: (instance or mitrad).internal.patch(
        CONFIG, token=operator_token, json=values
    )


@pytest.fixture
def busy_mitra(mitrad, online_mitra, make_session, show):
    """Online, with one session; the only one who is."""
    mitra = online_mitra()
    make_session(mitra)
    show(mitra)
    yield mitra
    assert mitrad.post("/api/mitra/status/offline", token=mitra.token).status == 200


@pytest.fixture
def listed(operator_token):
    """listed(instance, mitra): the set of (source, is he on the list) of many answers, so of every worker's."""

    def listed(instance, mitra):
        answers = [instance.internal.get("/internal/availability", token=operator_token).json for _ in range(16)]
        return {(answer["source"], mitra.id in {one["id"] for one in answer["mitras"]}) for answer in answers}

    return listed


def test_the_configuration_is_all_keys_with_their_values(read, database):
    config = read()
    assert config == {
        row["key"]: row["default"] for row in database.rows('SELECT key, "default" FROM app_config_definitions')
    }
    assert (config["max_customers_per_mitra"], config["stale_after_seconds"]) == (3, 90)


def test_a_change_is_answered_with_all_that_holds_now(change, read):
    before = read()
    answer = change(max_customers_per_mitra=5, payment_timing="after_match")
    assert answer.status == 200
    assert answer.json == {**before, "max_customers_per_mitra": 5, "payment_timing": "after_match"} == read()


@pytest.mark.parametrize(
    "values, fields",
    [
        ({"max_customers_per_mitra": 0}, ["max_customers_per_mitra"]),
        ({"max_customers_per_mitra": 101}, ["max_customers_per_mitra"]),
        ({"max_customers_per_mitra": 2.5}, ["max_customers_per_mitra"]),
        ({"max_customers_per_mitra": 1e300}, ["max_customers_per_mitra"]),
        ({"max_customers_per_mitra": "4"}, ["max_customers_per_mitra"]),
        ({"max_customers_per_mitra": None}, ["max_customers_per_mitra"]),
        ({"max_customers_per_mitra": True}, ["max_customers_per_mitra"]),
        ({"max_customers_per_mitra": [4]}, ["max_customers_per_mitra"]),
        ({"stale_after_seconds": 9}, ["stale_after_seconds"]),
        ({"payment_timing": "later"}, ["payment_timing"]),
        ({"payment_timing": 1}, ["payment_timing"]),
        ({"max_customer_per_mitra": 4}, ["max_customer_per_mitra"]),
        ({"goodbye_seconds": 5, "nonsense": {"a": []}, "stale_after_seconds": -1}, ["nonsense", "stale_after_seconds"]),
    ],
    ids=str,
)
def test_a_value_that_is_not_allowed_is_named_and_nothing_is_changed(change, read, values, fields):
    before = read()
    assert fields_of(problem_of(change(**values), 400, "INVALID_REQUEST")) == fields
    assert read() == before


def test_only_an_admin_may_change(mitrad, agent_token, read):
    assert mitrad.internal.get(CONFIG, token=agent_token).json == read()
    answer = mitrad.internal.patch(CONFIG, token=agent_token, json={"max_customers_per_mitra": 9})
    problem_of(answer, 403, "FORBIDDEN")
    assert read()["max_customers_per_mitra"] == 3


def test_a_change_is_published_with_its_keys(change, mirror):
    with mirror.pubsub() as channel:
        channel.subscribe("config:invalidate")
        wait_until(lambda: channel.get_message(timeout=1), what="the subscription")
        change(goodbye_seconds=31, stale_after_seconds=120)
        message = wait_until(lambda: channel.get_message(timeout=1), what="the message")
        assert sorted(json.loads(message["data"])["keys"]) == ["goodbye_seconds", "stale_after_seconds"]
        change(goodbye_seconds=-1)
        assert channel.get_message(timeout=0.2) is None


def test_every_worker_of_every_instance_takes_new_limits_at_once(mitrad, mitrad_factory, change, listed, busy_mitra):
    other = mitrad_factory(arrangement=CALM, WORKERS=3)
    for limit, there in ((1, False), (2, True), (1, False)):
        assert change(max_customers_per_mitra=limit).status == 200
        for instance in (mitrad, other):
            wait_until(lambda: listed(instance, busy_mitra) == {("valkey", there)}, what="the new limit everywhere")


def test_the_beacon_follows_a_change_of_the_limits(mitrad, change, busy_mitra):
    def count():
        return mitrad.get("/public/bestie-availability").json["count"]

    before = count()
    change(max_customers_per_mitra=1)
    wait_until(lambda: count() == before - 1, SOON, "the beacon to follow")
    change(max_customers_per_mitra=3)
    wait_until(lambda: count() == before, SOON, "the beacon to follow")


def test_a_new_limit_of_silence_holds_for_everyone(mitrad, change, listed, busy_mitra, mirror, database):
    heard = database.value("SELECT mitrad.iso(now() - interval '60 seconds')")
    mirror.set(f"mitra:heartbeat:{busy_mitra.id}", heard)
    assert listed(mitrad, busy_mitra) == {("valkey", True)}
    change(stale_after_seconds=30)
    # In 30 seconds he would be silent by the old one, too.
    wait_until(lambda: listed(mitrad, busy_mitra) == {("valkey", False)}, 20, "the new limit everywhere")


def test_a_change_while_valkey_is_away_holds_at_once_and_everywhere_once_it_is_back(
    mitrad, mitrad_factory, valkey, proxy_factory, change, listed, busy_mitra
):
    proxy = proxy_factory(valkey)
    away = mitrad_factory(arrangement=CALM, VALKEY_URL=valkey.url_through(proxy), WORKERS=3)
    proxy.refuse()
    wait_until(lambda: listed(away, busy_mitra) == {("postgres", True)}, what="the outage to be noticed")
    assert change(away, max_customers_per_mitra=1).status == 200
    assert listed(away, busy_mitra) == {("postgres", False)}
    proxy.forward()
    wait_until(lambda: listed(away, busy_mitra) == {("valkey", False)}, what="the new limit by the mirror")


def test_an_edit_by_hand_is_taken_up_by_the_next_reseed(
    mitrad_factory, valkey_factory, database, listed, busy_mitra
):
    mitrad = mitrad_factory(VALKEY_URL=valkey_factory().url)
    assert listed(mitrad, busy_mitra) == {("valkey", True)}
    database.execute("UPDATE app_config SET value = '1' WHERE key = 'max_customers_per_mitra'")
    wait_until(lambda: listed(mitrad, busy_mitra) == {("valkey", False)}, what="the limit that was edited")


def test_nonsense_edited_in_by_hand_is_the_default(read, database):
    database.execute("UPDATE app_config SET value = '\"lots\"' WHERE key = 'max_customers_per_mitra'")
    database.execute("DELETE FROM app_config WHERE key = 'stale_after_seconds'")
    config = read()
    assert (config["max_customers_per_mitra"], config["stale_after_seconds"]) == (3, 90)
