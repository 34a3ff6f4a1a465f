"""app_config: its effective values, and how it is changed."""

import json

import pytest

DEFAULTS = {
    "max_customers_per_mitra": 3,
    "stale_after_seconds": 90,
    "heartbeat_interval_seconds": 30,
    "auto_offline_max_percent": 50,
    "payment_timing": "none",
    "goodbye_seconds": 30,
    "payment_timeout_seconds": 900,
    "blast_timeout_seconds": 60,
}


def effective(call):
    row = call("config_get")
    assert row["problem"] is None
    return json.loads(row["answer"])


def fields(row):
    assert row["problem"] == "INVALID_REQUEST" and row["answer"] is None
    return [error["field"] for error in json.loads(row["errors"])]


def test_every_key_has_a_row_and_its_default_from_the_first_migration_on(call, database):
    values = effective(call)
    assert {key: values[key] for key in DEFAULTS} == DEFAULTS
    stored = {row["key"]: row["value"] for row in database.rows("SELECT key, value FROM app_config")}
    assert stored == values


def test_no_default_is_outside_of_its_own_bounds(database):
    faults = """SELECT d.key FROM app_config_definitions d
        WHERE mitrad.config_fault(d, d."default") IS NOT NULL OR d.meaning = ''"""
    assert database.rows(faults) == []


def test_a_patch_answers_the_whole_configuration_and_the_keys_it_named(call):
    patch = {"stale_after_seconds": 120, "payment_timing": "after_match"}
    row = call("config_patch", json.dumps(patch))
    assert row["problem"] is None
    assert json.loads(row["answer"]) == effective(call)
    assert {key: effective(call)[key] for key in patch} == patch
    assert json.loads(row["keys"]) == ["payment_timing", "stale_after_seconds"]


def test_an_empty_patch_changes_nothing(call):
    before = effective(call)
    row = call("config_patch", "{}")
    assert json.loads(row["answer"]) == before and json.loads(row["keys"]) == []


def test_a_patch_to_the_present_value_leaves_its_time(call, database):
    when = "SELECT updated_at FROM app_config WHERE key = 'goodbye_seconds'"
    before = database.value(when)
    call("config_patch", '{"goodbye_seconds": 30}')
    assert database.value(when) == before
    call("config_patch", '{"goodbye_seconds": 31}')
    assert database.value(when) > before


@pytest.mark.parametrize("key, value", [
    ("no_such_key", 1),
    ("", 1),
    ("stale_after_seconds", "90"),
    ("stale_after_seconds", 90.5),
    ("stale_after_seconds", None),
    ("stale_after_seconds", True),
    ("stale_after_seconds", [90]),
    ("stale_after_seconds", {}),
    ("stale_after_seconds", 9),
    ("stale_after_seconds", 86401),
    ("stale_after_seconds", -90),
    ("max_customers_per_mitra", 0),
    ("max_customers_per_mitra", 101),
    ("max_customers_per_mitra", 10**30),
    ("payment_timing", "never"),
    ("payment_timing", ""),
    ("payment_timing", 0),
    ("payment_timing", None),
])
def test_a_value_that_is_not_allowed_is_refused_and_the_rest_of_the_patch_with_it(call, key, value):
    before = effective(call)
    row = call("config_patch", json.dumps({"goodbye_seconds": 11, key: value}))
    assert fields(row) == [key]
    assert effective(call) == before


def test_every_fault_of_a_patch_is_named(call):
    row = call("config_patch", '{"stale_after_seconds": 1, "payment_timing": 2, "x": 3, "goodbye_seconds": 4}')
    assert fields(row) == ["payment_timing", "stale_after_seconds", "x"]


@pytest.mark.parametrize("patch", ["[]", "1", '"x"', "null", "true"])
def test_a_patch_must_be_an_object(call, patch):
    assert call("config_patch", patch)["problem"] == "INVALID_REQUEST"


def test_an_integer_may_be_written_with_a_fraction_of_zero(call):
    call("config_patch", '{"stale_after_seconds": 120.0}')
    assert call("config_get")["answer"].count("120.0") == 0
    assert effective(call)["stale_after_seconds"] == 120


@pytest.mark.parametrize("nonsense", ['"90"', "-1", "0", "1e300", "1.5", "null", "[]", "{}", "true"])
def test_nonsense_in_the_table_counts_as_the_default(call, database, nonsense):
    database.execute("UPDATE app_config SET value = %s", nonsense)
    values = effective(call)
    assert values["stale_after_seconds"] == 90
    assert values["max_customers_per_mitra"] == 3
    assert values["payment_timing"] == "none"
    assert database.value("SELECT mitrad.config_integer('stale_after_seconds')") == 90
    assert database.value("SELECT mitrad.config_text('payment_timing')") == "none"


def test_a_row_that_is_missing_or_unknown_harms_nothing(call, database):
    before = effective(call)
    database.execute("DELETE FROM app_config")
    database.execute("INSERT INTO app_config (key, value) VALUES ('somebody_elses', '1')")
    assert effective(call) == before
    call("config_patch", '{"goodbye_seconds": 5}')
    assert effective(call) == {**before, "goodbye_seconds": 5}


@pytest.mark.parametrize("edit", [
    "UPDATE app_config SET value = '4' WHERE key = 'max_customers_per_mitra'",
    """UPDATE app_config_definitions SET "default" = '4' WHERE key = 'max_customers_per_mitra';
       TRUNCATE app_config""",
    """UPDATE app_config_definitions SET "default" = '4' WHERE key = 'max_customers_per_mitra';
       UPDATE app_config SET key = 'mistyped' WHERE key = 'max_customers_per_mitra'""",
])
def test_every_edit_by_hand_counts_at_once(database, edit):
    database.execute(edit)
    assert database.value("SELECT mitrad.config_integer('max_customers_per_mitra')") == 4


def test_two_patches_at_once_both_count(rival, call):
    one, other = rival(), rival()
    one.call("config_patch", '{"goodbye_seconds": 5, "stale_after_seconds": 50}')
    other.begin_call("config_patch", '{"stale_after_seconds": 60, "blast_wave_size": 7}')
    one.commit()
    other.result()
    values = effective(call)
    assert (values["goodbye_seconds"], values["stale_after_seconds"], values["blast_wave_size"]) == (5, 60, 7)
