"""The start: what is waited for, what is done without, and what is said when it cannot be."""

import re
import socket

import pytest

from harness import ports, program
from harness.mitrad import CALM
from harness.wait import holds_for, wait_until

READINGS = "/internal/availability"


def critical(mitrad):
    """The messages with which it gave up."""
    return [line["message"] for line in mitrad.log_lines() if line.get("severity") == "CRITICAL"]


def test_without_valkey_it_warns_and_serves_and_uses_it_when_it_comes(mitrad_factory, valkey, operator_token):
    valkey.stop()
    mitrad = mitrad_factory(arrangement=CALM)
    assert mitrad.get("/readyz").json["status"] == "degraded"
    assert [line for line in mitrad.log_lines() if line["severity"] == "WARNING"]

    def source():
        return mitrad.internal.get(READINGS, token=operator_token).json["source"]

    assert source() == "postgres"
    valkey.start()
    wait_until(lambda: {source() for _ in range(24)} == {"valkey"}, what="Valkey to be used")
    mitrad.wait_log("[valkey] subscribed to config:invalidate")
    wait_until(lambda: mitrad.get("/readyz").json["status"] == "ok", what="everything to be well")


def test_a_black_hole_for_valkey_delays_the_start_only_little(mitrad_factory, valkey, proxy_factory, operator_token):
    proxy = proxy_factory(valkey)
    proxy.black_hole()
    mitrad = mitrad_factory(arrangement=CALM, VALKEY_URL=valkey.url_through(proxy), VALKEY_TIMEOUT_MS=1000)
    answer = mitrad.internal.get(READINGS, token=operator_token)
    assert answer.json == {"source": "postgres", "mitras": []}


def test_without_postgresql_it_waits_and_serves_when_it_comes(mitrad_factory, postgres):
    postgres.stop()
    mitrad = mitrad_factory(arrangement=CALM, start=False, STARTUP_TIMEOUT_SECONDS=60).start(ready=False)
    mitrad.wait_log("waiting for PostgreSQL")
    with pytest.raises(OSError):
        mitrad.get("/readyz")
    postgres.start()
    wait_until(lambda: mitrad.get("/readyz").json["status"] == "ok", 30, "the server to get ready")


@pytest.mark.parametrize("how", ["refused", "black hole"])
def test_without_postgresql_it_gives_up_after_its_time(mitrad_factory, database, postgres, proxy_factory, how):
    proxy = proxy_factory(postgres)
    proxy.refuse() if how == "refused" else proxy.black_hole()
    mitrad = mitrad_factory(
        arrangement=CALM, start=False, DATABASE_URL=database.url_through(proxy), STARTUP_TIMEOUT_SECONDS=2
    ).start(ready=False)
    assert mitrad.wait_exit() == 1
    assert any("PostgreSQL" in message for message in critical(mitrad)), mitrad.log_text()


@pytest.mark.parametrize(
    "url, named",
    [
        ("postgresql://nobody_known@127.0.0.1:{port}/{name}", "nobody_known"),
        ("postgresql://mitrad@127.0.0.1:{port}/no_such_database", "no_such_database"),
    ],
)
def test_what_postgresql_says_against_us_is_in_the_last_line(mitrad_factory, postgres, database, url, named):
    url = url.format(port=postgres.port, name=database.name)
    mitrad = mitrad_factory(start=False, DATABASE_URL=url, STARTUP_TIMEOUT_SECONDS=1).start(ready=False)
    assert mitrad.wait_exit() == 1
    assert any(named in message for message in critical(mitrad)), mitrad.log_text()


def test_a_database_without_the_schema_is_named_and_what_helps(mitrad_factory, postgres):
    database = postgres.create_database(migrated=False)
    mitrad = mitrad_factory(start=False, DATABASE_URL=database.url, STARTUP_TIMEOUT_SECONDS=2).start(ready=False)
    assert mitrad.wait_exit() == 1
    assert any("schema" in message and "mitrad migrate" in message for message in critical(mitrad)), mitrad.log_text()
    database.drop()


def stamp(database, text):
    """Makes the database say that it has that schema, see schema/migrate.h; what it really has stays."""
    database.execute(f"comment on schema mitrad is '{text}'")


@pytest.mark.parametrize("role", ["all", "public", "internal", "sweeper"])
def test_an_older_schema_ends_the_start_at_once_and_what_helps_is_said(mitrad_factory, database, role):
    stamp(database, "version 1, functions of-long-ago")
    mitrad = mitrad_factory("--role", role, start=False, STARTUP_TIMEOUT_SECONDS=600).start(ready=False)
    assert mitrad.wait_exit() == 1
    assert any("version 1, older" in text and "run `mitrad migrate`" in text for text in critical(mitrad)), mitrad.log_text()


@pytest.mark.parametrize("text", ["version 999, functions of-tomorrow", None], ids=["version", "functions"])
def test_a_newer_schema_is_served(mitrad_factory, database, make_mitra, text):
    """Whoever is upgraded first migrates; the others are not yet."""
    now = database.value("select obj_description('mitrad'::regnamespace, 'pg_namespace')")
    stamp(database, text or now.partition(",")[0] + ", functions of-tomorrow")
    mitrad = mitrad_factory()
    assert mitrad.post("/api/mitra/status/online", token=make_mitra().token).status == 200
    assert bool(mitrad.messages("functions are another release's")) == (text is None)


def test_a_schema_that_gets_older_is_as_if_postgresql_were_away_until_somebody_migrates(mitrad, database, make_mitra):
    """As after a restored backup."""
    mitrad.wait_log(" is ready: ")  # all workers; one that is still starting would end the start
    mitra = make_mitra()
    now = database.value("select obj_description('mitrad'::regnamespace, 'pg_namespace')")
    stamp(database, "version 1, functions of-long-ago")
    database.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()")
    wait_until(
        lambda: all(mitrad.get("/readyz").json["postgres"] == "down" for _ in range(24)), what="the loss to be felt by all"
    )
    assert mitrad.post("/api/mitra/status/online", token=mitra.token).json["code"] == "DATABASE_UNAVAILABLE"
    stamp(database, now)
    wait_until(lambda: mitrad.post("/api/mitra/status/online", token=mitra.token).status == 200, what="the return")


def test_a_port_that_is_taken_is_named(mitrad_factory):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for listener in ("PUBLIC_LISTEN", "INTERNAL_LISTEN"):
            mitrad = mitrad_factory(start=False, **{listener: f"127.0.0.1:{port}"}).start(ready=False)
            assert mitrad.wait_exit() == 1
            (message,) = critical(mitrad)
            assert f"127.0.0.1:{port}" in message and "is taken" in message


def test_two_instances_cannot_share_a_port(mitrad_factory):
    """SO_REUSEPORT is for the workers of one instance."""
    first = mitrad_factory(arrangement=CALM)
    second = mitrad_factory(start=False, PUBLIC_LISTEN=f"127.0.0.1:{first.public.port}").start(ready=False)
    assert second.wait_exit() == 1
    assert first.get("/readyz").status == 200


BAD = {
    "DATABASE_URL": "postgresql://[nonsense",
    "VALKEY_URL": "http://localhost:6379",
    "AUTH_JWT_SECRET": "swordfish",
    "WORKERS": "many",
    "VALKEY_TIMEOUT_MS": "0",
    "DATABASE_TIMEOUT_MS": "-5",
    "PUBLIC_LISTEN": "127.0.0.1:99999",
    "LOG_LEVEL": "loud",
    "LOG_FORMAT": "xml",
    "ENABLE_TEST_ROUTES": "maybe",
    "TRUSTED_PROXIES": "10.0.0.0/99",
    "STARTUP_TIMEOUT_SECONDS": "1e3",
}


def test_every_bad_setting_has_a_line_that_names_it(mitrad_factory):
    done = program.run("serve", settings=BAD)
    assert done.returncode == 2
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line]
    assert len(lines) == len(BAD)
    for name in BAD:
        assert [line for line in lines if re.search(rf"\b{name}\b", line)], name
    assert "swordfish" not in done.stdout + done.stderr, "a secret must not be repeated"


@pytest.mark.parametrize("name", BAD)
def test_one_bad_setting_is_enough_to_stop(name, database, valkey):
    good = {"DATABASE_URL": database.url, "VALKEY_URL": valkey.url, "PUBLIC_LISTEN": f"127.0.0.1:{ports.free_port()}"}
    done = program.run("serve", settings={**good, name: BAD[name]})
    assert done.returncode == 2
    assert len([line for line in (done.stdout + done.stderr).splitlines() if name in line]) == 1


def test_a_required_setting_that_is_missing_is_named():
    done = program.run("serve", settings={"AUTH_JWT_SECRET": None})
    assert done.returncode == 2
    for name in ("DATABASE_URL", "AUTH_JWT_SECRET"):
        assert name in done.stdout + done.stderr


def test_an_instance_of_one_role_needs_no_sweeper_to_serve(mitrad_factory, operator_token):
    public = mitrad_factory("--role", "public", arrangement=CALM)
    internal = mitrad_factory("--role", "internal", arrangement=CALM)
    assert public.get("/public/bestie-availability").json["count"] == 0
    assert internal.internal.get(READINGS, token=operator_token).json == {"source": "postgres", "mitras": []}
    holds_for(lambda: public.running() and internal.running(), 1, "both running")
    sweeper = mitrad_factory("--role", "sweeper", arrangement=CALM, start=False).start(ready=False)
    wait_until(
        lambda: internal.internal.get(READINGS, token=operator_token).json["source"] == "valkey", what="the mirror"
    )
    assert sweeper.running()
