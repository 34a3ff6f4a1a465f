"""`mitrad migrate`: once, again, two at a time, and when it must refuse."""

import subprocess

import pytest

from harness import program
from harness.wait import wait_until

STAMP = "SELECT obj_description(to_regnamespace('mitrad'), 'pg_namespace')"


@pytest.fixture
def empty(postgres):
    made = postgres.create_database(migrated=False)
    yield made
    made.drop()


def migrate(database, **settings):
    return program.run("migrate", settings={"DATABASE_URL": database.url, **settings})


def begin_migrate(database):
    """The program under way; its log is its output."""
    return subprocess.Popen(
        [program.binary(), "migrate"],
        env=program.environment({"DATABASE_URL": database.url}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def contents(database):
    """Everything that a migration makes, as far as a second run could change it."""
    return (
        database.rows("SELECT * FROM schema_migrations ORDER BY version"),
        database.rows("SELECT * FROM app_config ORDER BY key"),
        database.rows("SELECT oid::text, xmin::text FROM pg_proc WHERE pronamespace = 'mitrad'::regnamespace ORDER BY 1"),
        database.value(STAMP),
    )


def test_a_second_run_changes_nothing(empty):
    assert migrate(empty).returncode == 0
    before = contents(empty)
    assert before[3].startswith(f"version {len(before[0])}, functions ")
    assert migrate(empty).returncode == 0
    assert contents(empty) == before


def test_two_runners_at_once_both_succeed_and_migrate_once(empty):
    runners = [begin_migrate(empty) for _ in range(3)]
    logs = [runner.communicate(timeout=60)[0] for runner in runners]
    assert [runner.returncode for runner in runners] == [0, 0, 0], logs
    assert sum(log.count("applied 001_tables.sql") for log in logs) == 1, logs
    assert sum(log.count("replaced the functions") for log in logs) == 1, logs


def test_a_runner_waits_for_the_other_and_then_succeeds(empty):
    holder = empty.connect()
    with holder.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(7236171205148471)")
    runner = begin_migrate(empty)
    try:
        wait_until(lambda: empty.value(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") == 1)
    finally:
        holder.close()
        log = runner.communicate(timeout=60)[0]
    assert runner.returncode == 0, log


def test_a_file_that_was_changed_after_it_was_applied_is_refused_and_nothing_is_touched(database):
    database.execute("UPDATE schema_migrations SET sha256 = 'another'")
    database.execute("COMMENT ON SCHEMA mitrad IS 'version 1, functions others'")
    before = contents(database)
    done = migrate(database)
    assert done.returncode == 1
    assert "001_tables.sql was changed after it was applied" in done.stderr
    assert contents(database) == before


def test_a_database_newer_than_the_program_is_refused(database):
    database.execute("INSERT INTO schema_migrations (version, name, sha256) VALUES (999, '999_later.sql', '')")
    before = contents(database)
    done = migrate(database)
    assert done.returncode == 1 and "999_later.sql" in done.stderr
    assert contents(database) == before


def test_functions_that_differ_are_replaced_and_the_triggers_with_them(database, make_mitra, version_of):
    database.execute("COMMENT ON SCHEMA mitrad IS 'version 1, functions of another release'")
    database.execute("CREATE FUNCTION mitrad.of_another_release() RETURNS integer LANGUAGE sql AS 'SELECT 1'")
    mitra = make_mitra()
    assert migrate(database).returncode == 0
    assert database.value("SELECT to_regproc('mitrad.of_another_release')") is None
    database.execute("UPDATE mitras SET is_active = false")
    assert version_of(mitra) == 2


def test_functions_that_someone_dropped_come_back(database):
    stamp = database.value(STAMP)
    database.execute("DROP SCHEMA mitrad CASCADE")
    assert migrate(database).returncode == 0
    assert database.value(STAMP) == stamp


def test_it_gives_way_to_a_transaction_that_holds_a_table(database, rival, make_mitra):
    make_mitra()
    database.execute("DROP SCHEMA mitrad CASCADE")
    request = rival()
    request.execute("SELECT FROM mitras FOR SHARE")
    runner = begin_migrate(database)
    try:
        wait_until(lambda: database.value(
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted") == 1)
        # It gives up its place in the queue after a while, so that others may pass.
        wait_until(lambda: database.value(
            "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND NOT granted") == 0)
    finally:
        request.commit()
        log = runner.communicate(timeout=60)[0]
    assert runner.returncode == 0, log


def test_the_first_operator_is_created_once_and_keeps_the_password(empty):
    first = {"ADMIN_EMAIL": "Chief@example.com", "ADMIN_PASSWORD": "correct horse"}
    operators = "SELECT email, role, password_hash FROM control_center_users"
    assert migrate(empty, **first).returncode == 0
    before = empty.one(operators)
    assert (before["email"], before["role"]) == ("chief@example.com", "admin")
    assert before["password_hash"].startswith("$scrypt$ln=17,r=8,p=1$")

    again = migrate(empty, ADMIN_EMAIL="chief@EXAMPLE.com", ADMIN_PASSWORD="another")
    assert again.returncode == 0
    assert empty.one(operators) == before


@pytest.mark.parametrize("password, weak", [("correct horse", False), ("short", True), ("password1234", True)])
def test_a_weak_first_password_is_taken_with_a_warning(empty, password, weak):
    done = migrate(empty, ADMIN_EMAIL="chief@example.com", ADMIN_PASSWORD=password)
    assert done.returncode == 0
    assert empty.value("SELECT count(*) FROM control_center_users") == 1
    assert ("taken all the same" in done.stderr) == weak
    assert password not in done.stdout + done.stderr


def test_the_password_is_in_no_log_line(empty):
    done = migrate(empty, ADMIN_EMAIL="chief@example.com", ADMIN_PASSWORD="correct horse")
    assert done.returncode == 0
    assert "correct horse" not in done.stdout + done.stderr


def test_a_database_that_does_not_exist_is_an_error_at_once_and_named(postgres):
    done = program.run("migrate", settings={"DATABASE_URL": postgres.url("nowhere")}, timeout=20)
    assert done.returncode == 1
    assert "nowhere" in done.stderr and "does not exist" in done.stderr


def test_it_waits_no_longer_than_it_may_for_a_server_that_is_away():
    settings = {"DATABASE_URL": "postgresql://mitrad@127.0.0.1:1/x", "STARTUP_TIMEOUT_SECONDS": 1}
    done = program.run("migrate", settings=settings, timeout=20)
    assert done.returncode == 1
    assert "cannot connect to PostgreSQL" in done.stderr


def test_it_waits_for_a_server_that_is_still_starting(postgres, empty):
    postgres.stop()
    runner = begin_migrate(empty)
    try:
        assert "waiting for PostgreSQL" in runner.stdout.readline()
    finally:
        postgres.start()
        log = runner.communicate(timeout=60)[0]
    assert runner.returncode == 0, log
