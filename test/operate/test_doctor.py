"""`mitrad doctor` names what an operator got wrong, says what to do, and exits with 1; what is right it calls ok."""

import os
import re
import resource
import subprocess

import pytest

from harness import program, scratch
from harness.fake_valkey import FakeValkey
from harness.mitrad import Mitrad
from harness.postgres import Postgres
from harness.wait import wait_until

SECRET = "5f2e9c71b8d04a63e1f7c2ab96d350841c7e90ad62fb3859d4016e7fa82bc93d"


class Findings:
    def __init__(self, done):
        self.exit = done.returncode
        self.text = done.stdout + done.stderr
        *lines, self.summary = done.stdout.splitlines()
        self.lines = [re.fullmatch(r"(ok|warn|FAIL) +([^:]+): (.+)", line).groups() for line in lines]

    def of(self, subject):
        """(verdict, text) of the only finding about a subject."""
        (found,) = [(verdict, text) for verdict, about, text in self.lines if about == subject]
        return found

    def failures(self):
        return [subject for verdict, subject, _ in self.lines if verdict == "FAIL"]

    def warnings(self):
        return [subject for verdict, subject, _ in self.lines if verdict == "warn"]


def examine(*arguments, limits=None, **settings):
    settings = {"AUTH_JWT_SECRET": SECRET, "WORKERS": 2, **settings}
    return Findings(
        subprocess.run(
            [program.binary(), *arguments, "doctor"],
            cwd=scratch.root(),
            env=program.environment(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            preexec_fn=limits,
        )
    )


@pytest.fixture
def doctor(database, valkey):
    """doctor(NAME=value, …): its findings about this test's servers, or others."""
    servers = {"DATABASE_URL": database.url, "VALKEY_URL": valkey.url}
    return lambda *arguments, **settings: examine(*arguments, **{**servers, **settings})


@pytest.fixture
def fake_valkey():
    made = []

    def make(**what):
        made.append(FakeValkey(**what))
        return made[-1]

    yield make
    for server in made:
        server.stop()


def expect_failure(findings, subject, *parts):
    """It is the only failure, and each part stands in its text."""
    assert findings.failures() == [subject], findings.text
    assert findings.exit == 1
    for part in parts:
        assert part in findings.of(subject)[1], findings.text


def expect_warning(findings, subject, *parts):
    assert findings.warnings() == [subject], findings.text
    assert findings.exit == 0
    for part in parts:
        assert part in findings.of(subject)[1], findings.text


# ---- nothing wrong


def test_a_good_setup_is_ok_in_every_check_and_exits_with_0(doctor):
    findings = doctor()
    assert findings.exit == 0
    assert findings.failures() == []
    # Which libevent is installed is the machine's business.
    assert [subject for subject in findings.warnings() if subject not in ("libevent", "descriptors")] == []
    assert findings.summary.endswith(" 0 FAIL")


def test_it_changes_nothing(doctor, database, valkey):
    with valkey.client() as client:
        before = set(client.keys())
        doctor()
        # The client's probe of whether this server takes writes; it expires by itself.
        assert set(client.keys()) - before <= {"mirror:probe"}


def test_no_secret_is_shown(doctor, valkey_factory):
    server = valkey_factory(password="pass-of-the-server")
    findings = doctor(VALKEY_URL=server.url.replace("pass-of", "not-of"), AUTH_JWT_SECRET="hush-hush-my-secret-one-two-three-four")
    assert "not-of" not in findings.text
    assert "hush" not in findings.text


# ---- PostgreSQL: the way to it


def test_a_name_that_does_not_resolve_is_named(doctor):
    findings = doctor(DATABASE_URL="postgresql://mitrad@db.invalid/mitrad")
    expect_failure(findings, "postgres name", "db.invalid does not resolve", "DATABASE_URL")


def test_a_port_where_nobody_listens(doctor):
    findings = doctor(DATABASE_URL="postgresql://mitrad@127.0.0.1:1/mitrad")
    expect_failure(findings, "postgres connect", "Connection refused", "Is the server running")


def test_a_server_that_never_answers(doctor, database, proxy_factory):
    proxy = proxy_factory(database.postgres)
    proxy.black_hole()
    expect_failure(doctor(DATABASE_URL=database.url_through(proxy)), "postgres connect", "no answer within")


def test_tls_that_the_server_does_not_speak(doctor, database):
    findings = doctor(DATABASE_URL=database.url + "?sslmode=require")
    expect_failure(findings, "postgres TLS", "does not support SSL", "sslmode")


@pytest.fixture(scope="module")
def strict_postgres():
    """A cluster that wants a password over TCP."""
    server = Postgres()
    server.execute("ALTER ROLE mitrad PASSWORD 'right'")
    database = server.create_database()
    rules = os.path.join(server.data, "pg_hba.conf")
    with open(rules, encoding="utf-8") as file:
        text = file.read()
    with open(rules, "w", encoding="utf-8") as file:
        file.write("host all mitrad 127.0.0.1/32 scram-sha-256\n" + text)
    server.execute("SELECT pg_reload_conf()")
    yield database
    server.stop()


def with_password(database, password):
    return database.url.replace("mitrad@", f"mitrad:{password}@")


def test_a_wrong_password(strict_postgres, valkey):
    url = with_password(strict_postgres, "wrong")
    # The new rules are in force a moment later.
    wait_until(lambda: examine(DATABASE_URL=url, VALKEY_URL=valkey.url).exit == 1, what="the password to be asked for")
    findings = examine(DATABASE_URL=url, VALKEY_URL=valkey.url)
    expect_failure(findings, "postgres password", "password authentication failed", "DATABASE_URL")
    assert "wrong" not in findings.text
    right = with_password(strict_postgres, "right")
    assert examine(DATABASE_URL=right, VALKEY_URL=valkey.url).exit == 0


def test_a_missing_password(strict_postgres, valkey):
    wait_until(
        lambda: examine(DATABASE_URL=strict_postgres.url, VALKEY_URL=valkey.url).exit == 1,
        what="the password to be asked for",
    )
    findings = examine(DATABASE_URL=strict_postgres.url, VALKEY_URL=valkey.url)
    expect_failure(findings, "postgres password", "no password supplied", "DATABASE_URL")


def test_a_role_that_does_not_exist(doctor, database):
    findings = doctor(DATABASE_URL=database.url.replace("mitrad@", "nobody_at_all@"))
    expect_failure(findings, "postgres access", "nobody_at_all")


def test_a_missing_database(doctor, postgres):
    findings = doctor(DATABASE_URL=postgres.url("not_there"))
    expect_failure(findings, "postgres database", '"not_there" does not exist', "CREATE DATABASE")


def test_a_database_that_is_full_already(doctor, database):
    database.postgres.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
    expect_failure(doctor(), "postgres connections", "too many connections", "DATABASE_CONNECTIONS_PER_WORKER")


# ---- PostgreSQL: what it is


def test_a_database_that_was_never_migrated(doctor, postgres):
    empty = postgres.create_database(migrated=False)
    findings = doctor(DATABASE_URL=empty.url)
    empty.drop()
    expect_failure(findings, "postgres schema", "has none", "Run mitrad migrate")


@pytest.mark.parametrize(
    "stamp, advice",
    [
        ("version 0, functions 0123", "Run mitrad migrate"),
        ("version 1, functions 0123", "Run mitrad migrate"),
        ("version 9999, functions 0123", "Install the newer program"),
    ],
)
def test_the_schema_of_another_release(doctor, database, stamp, advice):
    database.execute(f"COMMENT ON SCHEMA mitrad IS '{stamp}'")
    expect_failure(doctor(), "postgres schema", advice)


def test_too_few_connections_for_the_workers(doctor, database):
    database.postgres.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 20")
    findings = doctor(WORKERS=4, DATABASE_CONNECTIONS_PER_WORKER=5)
    expect_failure(findings, "postgres connections", "needs 21, the server allows 20", "WORKERS")


def test_too_few_connections_for_a_reload(doctor, database):
    database.postgres.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 20")
    findings = doctor(WORKERS=4, DATABASE_CONNECTIONS_PER_WORKER=3)
    assert findings.exit == 0
    assert findings.of("postgres connections")[0] == "warn"
    assert "twice that during a reload" in findings.of("postgres connections")[1]


def test_the_connections_are_those_of_the_role(doctor, database):
    database.postgres.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 20")
    findings = doctor("--role", "sweeper", WORKERS=50, INTERNAL_LISTEN="")
    assert "needs 1," in findings.of("postgres connections")[1]


def test_a_server_that_takes_no_writes(doctor, database):
    database.postgres.execute(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    expect_failure(doctor(), "postgres writes", "read-only")


def pretend(database, function, answer):
    """Lets the database's own function of this name stand before PostgreSQL's."""
    database.execute("CREATE SCHEMA IF NOT EXISTS odd")
    database.execute("GRANT USAGE ON SCHEMA odd TO mitrad")
    database.execute(f"CREATE FUNCTION odd.{function} LANGUAGE sql AS $$ SELECT {answer} $$")
    database.postgres.execute(f"ALTER DATABASE {database.name} SET search_path = odd, pg_catalog")


def test_a_standby(doctor, database):
    pretend(database, "pg_is_in_recovery() RETURNS bool", "true")
    expect_failure(doctor(), "postgres writes", "standby", "target_session_attrs")


def test_a_pooler_in_between(doctor, database):
    pretend(database, "pg_backend_pid() RETURNS int", "1")
    expect_warning(doctor(), "postgres pooler", "by session")


@pytest.mark.parametrize("seconds, verdict", [(0.5, "ok"), (3, "warn"), (-3, "warn"), (60, "FAIL"), (-60, "FAIL")])
def test_postgres_clock_is_compared_with_ours(doctor, database, seconds, verdict):
    pretend(
        database,
        "clock_timestamp() RETURNS timestamptz",
        f"pg_catalog.clock_timestamp() + make_interval(secs => {seconds})",
    )
    findings = doctor()
    assert findings.of("postgres clock")[0] == verdict
    assert findings.exit == (1 if verdict == "FAIL" else 0)


def use_xendit(database):
    database.execute("""UPDATE app_config SET value = '"xendit"' WHERE key = 'payment_provider'""")


def test_a_payment_provider_without_its_key(doctor, database):
    use_xendit(database)
    expect_failure(doctor(), "payments", "XENDIT_SECRET_KEY")
    secrets = {"XENDIT_SECRET_KEY": "xnd_of_the_test", "XENDIT_CALLBACK_TOKEN": "token-of-the-test"}
    assert doctor(**secrets).of("payments")[0] == "ok"


def test_a_payment_provider_whose_webhooks_are_refused(doctor, database):
    use_xendit(database)
    verdict, text = doctor(XENDIT_SECRET_KEY="xnd_of_the_test").of("payments")
    assert verdict == "warn" and "XENDIT_CALLBACK_TOKEN" in text


def test_a_role_that_may_not_use_the_tables(doctor, database):
    database.postgres.execute("DROP ROLE IF EXISTS stranger")
    database.postgres.execute("CREATE ROLE stranger LOGIN")
    findings = doctor(DATABASE_URL=database.url.replace("mitrad@", "stranger@"))
    expect_failure(findings, "postgres rights", "stranger may not use", "GRANT")


# ---- Valkey: the way to it


def test_a_valkey_name_that_does_not_resolve(doctor):
    expect_failure(doctor(VALKEY_URL="redis://cache.invalid"), "valkey name", "cache.invalid", "VALKEY_URL")


def test_a_valkey_port_where_nobody_listens(doctor):
    for scheme in ("redis", "rediss"):
        expect_failure(doctor(VALKEY_URL=f"{scheme}://127.0.0.1:1"), "valkey connect", "Connection refused")


def test_a_wrong_and_a_missing_valkey_password(doctor, valkey_factory):
    server = valkey_factory(password="right")
    wrong = f"redis://:wrong@127.0.0.1:{server.port}"
    expect_failure(doctor(VALKEY_URL=wrong), "valkey password", "Check user and password")
    expect_failure(doctor(VALKEY_URL=f"redis://127.0.0.1:{server.port}"), "valkey password", "VALKEY_URL")
    assert doctor(VALKEY_URL=server.url).exit == 0


def test_a_password_for_a_server_that_has_none(doctor, valkey):
    expect_failure(doctor(VALKEY_URL=f"redis://:any@127.0.0.1:{valkey.port}"), "valkey password", "has no password")


def test_a_valkey_certificate_that_is_not_trusted(doctor, valkey_factory):
    server = valkey_factory(tls=True)
    expect_failure(doctor(VALKEY_URL=server.url), "valkey TLS", "SSL_CERT_FILE")
    findings = doctor(VALKEY_URL=server.url, SSL_CERT_FILE=server.ca_file)
    assert findings.of("valkey TLS") == ("ok", "in use")


def test_tls_for_a_valkey_that_does_not_speak_it(doctor, valkey):
    expect_failure(doctor(VALKEY_URL=f"rediss://127.0.0.1:{valkey.port}"), "valkey TLS", "redis://")


def test_a_database_number_that_valkey_does_not_have(doctor, valkey):
    expect_failure(doctor(VALKEY_URL=valkey.url_on(valkey.port, database=99)), "valkey database", "number")


def test_the_rights_that_it_advises_are_enough(doctor, valkey, mitrad_factory):
    with valkey.client() as client:
        client.execute_command("ACL", "SETUSER", "narrow", "on", ">pw", "+ping")
        url = f"redis://narrow:pw@127.0.0.1:{valkey.port}"
        try:
            findings = doctor(VALKEY_URL=url)
            expect_failure(findings, "valkey rights", "+@all -@dangerous +info")
            rules = findings.of("valkey rights")[1].rpartition(": ")[2].split()
            client.execute_command("ACL", "SETUSER", "narrow", *rules)
            assert doctor(VALKEY_URL=url).exit == 0
            instance = mitrad_factory(VALKEY_URL=url)
            instance.wait_log("[valkey-mirror] seed: ")
            instance.wait_log("[valkey] subscribed to config:invalidate")
            instance.stop()
        finally:
            client.execute_command("ACL", "DELUSER", "narrow")


# ---- Valkey: what it is


def test_cluster_mode_without_and_with_slots(doctor, valkey_factory):
    server = valkey_factory(options={"cluster-enabled": "yes"})
    expect_failure(doctor(VALKEY_URL=server.url), "valkey cluster", "not supported")
    with server.client() as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", what="the cluster")
    expect_failure(doctor(VALKEY_URL=server.url), "valkey cluster", "not supported")


@pytest.mark.parametrize("options", [{}, {"replica-read-only": "no"}])
def test_a_replica(doctor, valkey, valkey_factory, options):
    replica = valkey_factory(options={"replicaof": f"127.0.0.1 {valkey.port}", **options})
    expect_failure(doctor(VALKEY_URL=replica.url), "valkey replica", "Name the primary")


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_keys_that_may_be_evicted(doctor, valkey_factory, policy):
    server = valkey_factory(options={"maxmemory": "100mb", "maxmemory-policy": policy})
    expect_failure(doctor(VALKEY_URL=server.url), "valkey eviction", policy, "noeviction")


def test_a_policy_that_sleeps_is_a_warning(doctor, valkey_factory):
    server = valkey_factory(options={"maxmemory-policy": "allkeys-lru"})
    expect_warning(doctor(VALKEY_URL=server.url), "valkey eviction", "noeviction")


def test_memory_that_is_nearly_full(doctor, fake_valkey):
    server = fake_valkey(info={"used_memory": "90", "maxmemory": "100"})
    expect_warning(doctor(VALKEY_URL=server.url), "valkey memory", "90 %")


@pytest.mark.parametrize(
    "options, meaning", [({}, "none"), ({"save": "60 1"}, "snapshots"), ({"appendonly": "yes"}, "append-only")]
)
def test_it_says_what_the_persistence_means(doctor, valkey_factory, options, meaning):
    findings = doctor(VALKEY_URL=valkey_factory(options=options).url)
    assert findings.of("valkey persistence")[0] == "ok"
    assert findings.of("valkey persistence")[1].startswith(meaning)


def test_a_server_that_cannot_save(doctor, fake_valkey):
    server = fake_valkey(info={"rdb_last_bgsave_status": "err"})
    expect_warning(doctor(VALKEY_URL=server.url), "valkey persistence", "disk")


@pytest.mark.parametrize(
    "info, verdict, text",
    [
        ({"valkey_version": None, "redis_version": "6.0.16"}, "FAIL", "Redis 6.0.16 is too old"),
        ({"valkey_version": None, "redis_version": "6.2.0"}, "ok", "Redis 6.2.0"),
        ({"valkey_version": None, "redis_version": "10.0.0"}, "ok", "Redis 10.0.0"),
        ({"valkey_version": "7.2.5"}, "ok", "Valkey 7.2.5"),
    ],
)
def test_valkeys_version(doctor, fake_valkey, info, verdict, text):
    findings = doctor(VALKEY_URL=fake_valkey(info=info).url)
    assert findings.of("valkey version")[0] == verdict
    assert text in findings.of("valkey version")[1]


def test_too_few_clients(doctor, fake_valkey):
    server = fake_valkey(info={"maxclients": "10"})
    expect_failure(doctor(VALKEY_URL=server.url, WORKERS=4), "valkey clients", "needs 10", "maxclients is 10")


@pytest.mark.parametrize("role", ["all", "public", "sweeper"])
def test_as_many_connections_as_it_names_an_instance_has(doctor, database, valkey, role):
    settings = {"DATABASE_URL": database.url, "VALKEY_URL": valkey.url, "WORKERS": 3}
    named = doctor("--role", role, **settings)
    wanted = [int(re.search(r"needs (\d+)", named.of(about)[1])[1])
              for about in ("postgres connections", "valkey clients")]
    instance = Mitrad(settings, arguments=["--role", role]).start(ready=False)
    in_postgres = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND usename = 'mitrad'"
    try:
        with valkey.client() as client:
            wait_until(lambda: [database.value(in_postgres, database.name), len(client.client_list()) - 1] == wanted,
                       what=f"the instance to have {wanted} connections")
    finally:
        instance.stop()


@pytest.mark.parametrize("seconds, verdict", [(0.5, "ok"), (3, "warn"), (-3, "warn"), (60, "FAIL"), (-60, "FAIL")])
def test_valkeys_clock_is_compared_with_ours(doctor, fake_valkey, seconds, verdict):
    findings = doctor(VALKEY_URL=fake_valkey(clock_ahead_seconds=seconds).url)
    assert findings.of("valkey clock")[0] == verdict


def test_a_service_that_refuses_config_is_fine(doctor, fake_valkey):
    findings = doctor(VALKEY_URL=fake_valkey(refused=["CONFIG"]).url)
    assert findings.exit == 0
    assert findings.of("valkey persistence")[0] == "ok"


def test_a_service_that_refuses_info_leaves_it_open(doctor, fake_valkey):
    expect_warning(doctor(VALKEY_URL=fake_valkey(refused=["INFO"]).url), "valkey server", "unknown")


def test_a_service_that_refuses_scripts(doctor, fake_valkey):
    expect_failure(doctor(VALKEY_URL=fake_valkey(refused=["EVAL"]).url), "valkey scripts", "EVALSHA")


# ---- this machine, and the settings


@pytest.mark.parametrize(
    "secret, verdict",
    [
        ("please-change-me-please-change-me-please", "FAIL"),
        ("your-256-bit-Secret-your-256-bit-Secret", "FAIL"),
        ("a" * 64, "FAIL"),
        ("abc12345" * 8, "FAIL"),
        ("0123456789abcdefghijklmnopqrstuvwxyz", "FAIL"),
        ("totatoottatootaottoattaottoatotaoturielt", "warn"),
        (SECRET, "ok"),
        (SECRET[:32], "ok"),
        ("q8Vw3Zt0Lr7Yc5Nf1Hk9Xs2Bd6Gm4PjA", "ok"),
    ],
)
def test_a_secret_that_could_be_guessed(doctor, secret, verdict):
    assert doctor(AUTH_JWT_SECRET=secret).of("AUTH_JWT_SECRET")[0] == verdict


def test_a_rotation_that_rotates_nothing(doctor):
    findings = doctor(AUTH_JWT_SECRET_PREVIOUS=SECRET)
    assert ("warn", "AUTH_JWT_SECRET_PREVIOUS") in [line[:2] for line in findings.lines]


def test_an_internal_listener_on_every_address(doctor):
    expect_warning(doctor(INTERNAL_LISTEN="0.0.0.0:3001"), "INTERNAL_LISTEN", "every address")
    assert doctor("--role", "public", INTERNAL_LISTEN="0.0.0.0:3001").warnings() == []


def test_test_routes_beyond_this_machine(doctor):
    expect_warning(doctor(ENABLE_TEST_ROUTES=1, INTERNAL_LISTEN="10.1.2.3:3001"), "ENABLE_TEST_ROUTES", "production")
    assert doctor(ENABLE_TEST_ROUTES=1).warnings() == []


@pytest.mark.parametrize("most, verdict", [(256, "FAIL"), (4096, "warn")])
def test_few_descriptors(doctor, most, verdict):
    findings = doctor(limits=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)))
    assert findings.of("descriptors")[0] == verdict
    assert "LimitNOFILE" in findings.of("descriptors")[1]


@pytest.mark.parametrize("mode, verdict", [(0o644, "warn"), (0o640, "ok")])
def test_a_configuration_that_everybody_can_read(doctor, mode, verdict):
    file = os.path.join(scratch.directory("configuration"), "mitrad.conf")
    with open(file, "w", encoding="utf-8") as configuration:
        configuration.write("WORKERS=2\n")
    os.chmod(file, mode)
    assert doctor("--config", file).of("--config")[0] == verdict


def test_a_wrong_setting_is_2_and_nothing_is_looked_at(doctor, database, valkey):
    done = program.run("doctor", settings={"DATABASE_URL": database.url, "WORKERS": "many"})
    assert done.returncode == 2
    assert "WORKERS" in done.stderr
    assert done.stdout == ""
