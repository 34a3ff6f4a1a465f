"""PostgreSQL away: heartbeats and the beacon still answer, the rest says when to come back."""

import threading

import pytest

from harness import program
from harness.api import problem_of
from harness.mitrad import CALM
from harness.wait import wait_until

STATUS, BEACON = "/api/mitra/status", "/public/bestie-availability"
ONLINE, OFFLINE, HEARTBEAT = (f"{STATUS}/{verb}" for verb in ("online", "offline", "heartbeat"))


class Stopped:
    """A shutdown in order."""

    @staticmethod
    def begin(proxy, postgres, database):
        postgres.stop()

    @staticmethod
    def end(proxy, postgres, database):
        postgres.start()


class Killed(Stopped):
    """All its processes die at once."""

    @staticmethod
    def begin(proxy, postgres, database):
        postgres.kill()


class Paused:
    """The machine hangs."""

    @staticmethod
    def begin(proxy, postgres, database):
        postgres.pause()

    @staticmethod
    def end(proxy, postgres, database):
        postgres.resume()


class Refused:
    """Nobody listens."""

    @staticmethod
    def begin(proxy, postgres, database):
        proxy.refuse()

    @staticmethod
    def end(proxy, postgres, database):
        proxy.forward()


class BlackHole(Refused):
    """Connections are accepted, and nothing comes back."""

    @staticmethod
    def begin(proxy, postgres, database):
        proxy.black_hole()


class Babbling(Refused):
    """Something else answers on that port."""

    @staticmethod
    def begin(proxy, postgres, database):
        proxy.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class Crowded:
    """No connection is left, and those that we had are ended."""

    @staticmethod
    def begin(proxy, postgres, database):
        postgres.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT 0")
        end_connections(postgres, database)

    @staticmethod
    def end(proxy, postgres, database):
        postgres.execute(f"ALTER DATABASE {database.name} CONNECTION LIMIT -1")


OUTAGES = [Stopped, Killed, Paused, Refused, BlackHole, Babbling, Crowded]


def end_connections(postgres, database):
    postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = 'mitrad'",
        database.name,
    )


@pytest.fixture
def proxy(proxy_factory, postgres):
    return proxy_factory(postgres)


@pytest.fixture
def mitrad(mitrad_factory, database, proxy):
    """A calm instance that reaches PostgreSQL through the proxy."""
    return mitrad_factory(
        arrangement=CALM, DATABASE_URL=database.url_through(proxy), DATABASE_TIMEOUT_MS=2500
    )


@pytest.fixture
def operator(mitrad, operator_token):
    return lambda method, path, **more: mitrad.internal.request(
        method, f"/internal/{path}", token=operator_token, **more
    )


@pytest.fixture
def probe(mitrad):
    """probe("readyz"): (status code, the document) of both listeners, which must agree."""

    def probe(path):
        answers = [api.get(f"/{path}") for api in (mitrad.public, mitrad.internal)]
        seen = [(answer.status, answer.json) for answer in answers]
        assert seen[0] == seen[1]
        return seen[0]

    return probe


def all_workers(ask, times=24):
    """The distinct answers of so many requests that none of two workers is left out: the kernel chooses by chance."""
    return {ask() for _ in range(times)}


@pytest.mark.parametrize("outage", OUTAGES, ids=lambda outage: outage.__name__)
def test_what_needs_no_postgresql_goes_on_and_the_rest_comes_back_by_itself(
    outage, mitrad, operator, probe, proxy, postgres, database, online_mitra
):
    mitra, deactivated, offline = (online_mitra(mitrad) for _ in range(3))
    assert mitrad.post(OFFLINE, token=offline.token).status == 200
    operator("PATCH", f"mitras/{deactivated.id}", json={"is_active": False})
    count = mitrad.get(BEACON).json["count"]
    assert probe("readyz") == (200, {"status": "ok", "postgres": "up", "valkey": "up", "mirror": "ready"})
    family = mitrad.children()

    database.close()
    outage.begin(proxy, postgres, database)
    refused = [
        lambda: mitrad.get(STATUS, token=mitra.token),
        lambda: mitrad.post(ONLINE, token=offline.token),
        lambda: mitrad.post(OFFLINE, token=mitra.token),
        lambda: mitrad.post(HEARTBEAT, token=offline.token),
        lambda: operator("GET", "dashboard"),
        lambda: operator("GET", "mitras"),
        lambda: operator("GET", f"mitras/{mitra.id}"),
        lambda: operator("GET", f"mitras/{mitra.id}/online-logs"),
        lambda: operator("PATCH", f"mitras/{mitra.id}", json={"is_active": False}),
        lambda: operator("POST", "mitras", json={"phone": "+6281277788899", "display_name": "New"}),
        lambda: operator("GET", "config"),
        lambda: operator("PATCH", "config", json={"goodbye_seconds": 1}),
    ]
    for ask in refused:
        problem_of(ask(), 503, "DATABASE_UNAVAILABLE")
    assert all_workers(lambda: mitrad.post(HEARTBEAT, token=mitra.token).text) == {'{"online":true}'}
    assert all_workers(lambda: mitrad.post(HEARTBEAT, token=deactivated.token).code) == {"ACCOUNT_INACTIVE"}
    assert all_workers(lambda: mitrad.get(BEACON).json["count"]) == {count}
    assert operator("GET", "availability").json["source"] == "valkey"
    assert operator("GET", f"mitras/{mitra.id}/reachability").json == {"reachable": True, "source": "valkey"}
    assert probe("livez")[0] == 200
    wait_until(
        lambda: all_workers(lambda: mitrad.get(STATUS, token=mitra.token).status) == {503}
        and all_workers(lambda: probe("readyz")[1]["postgres"]) == {"down"},
        what="every worker to notice",
    )
    assert probe("readyz") == (200, {"status": "degraded", "postgres": "down", "valkey": "up", "mirror": "ready"})

    outage.end(proxy, postgres, database)
    wait_until(
        lambda: all_workers(lambda: mitrad.get(STATUS, token=mitra.token).status) == {200}, what="PostgreSQL again"
    )
    # What a hung server had received it does when it wakes up; 503 does not say that nothing was done.
    if outage is not Paused:
        assert mitrad.get(STATUS, token=mitra.token).json["online"] is True
        assert operator("GET", "config").json["goodbye_seconds"] == 30
        assert not database.rows("SELECT 1 FROM mitras WHERE phone = '+6281277788899'")
    wait_until(lambda: all_workers(lambda: probe("readyz")[1]["status"]) == {"ok"}, what="everything to be well")
    assert mitrad.children() == family
    wait_until(lambda: mirror_is_right(mitrad), what="an equal mirror")


def mirror_is_right(mitrad):
    return program.run("mirror", "verify", settings=mitrad.settings).returncode == 0


def test_a_connection_that_breaks_in_mid_statement_is_503_and_leaves_truth_and_mirror_equal(
    mitrad, proxy, database, online_mitra
):
    mitra = online_mitra(mitrad)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(mitrad.post(OFFLINE, token=mitra.token)))
    with database.holding("SELECT FROM mitras WHERE id = %s FOR UPDATE", mitra.id):
        asking.start()
        wait_until(database.waiting, what="the statement to wait")
        proxy.cut()
        asking.join()
    problem_of(answers[0], 503, "DATABASE_UNAVAILABLE")
    wait_until(lambda: mitrad.get(STATUS, token=mitra.token).status == 200, what="PostgreSQL again")
    # Whether the transition was committed nobody can know; the mirror follows either way.
    wait_until(lambda: mirror_is_right(mitrad), what="an equal mirror")


def test_a_statement_that_waits_too_long_for_a_lock_is_503_and_hurts_nobody_else(mitrad, database, make_mitra):
    held, free = make_mitra(), make_mitra()
    with database.holding("SELECT FROM mitras WHERE id = %s FOR UPDATE", held.id):
        problem_of(mitrad.post(ONLINE, token=held.token), 503, "DATABASE_UNAVAILABLE")
        assert mitrad.post(ONLINE, token=free.token).status == 200
    assert mitrad.post(ONLINE, token=held.token).status == 200
    assert database.value("SELECT count(*) FROM mitra_online_logs WHERE mitra_id = %s", held.id) == 1


def test_while_postgresql_hangs_newcomers_are_told_at_once_that_it_is_too_much(
    mitrad_factory, postgres, database, make_mitra
):
    """A connection takes 16 statements; who comes then waits in a queue that does not move."""
    mitrad = mitrad_factory(
        arrangement=CALM,
        DATABASE_URL=database.url,
        WORKERS=1,
        DATABASE_CONNECTIONS_PER_WORKER=1,
        DATABASE_TIMEOUT_MS=4000,
    )
    mitra = make_mitra()
    assert mitrad.post(ONLINE, token=mitra.token).status == 200
    answers, asking = [], []

    def ask():
        asking.append(threading.Thread(target=lambda: answers.append(mitrad.get(STATUS, token=mitra.token))))
        asking[-1].start()

    def one_is_refused():
        ask()
        return any(answer.code == "OVERLOADED" for answer in answers)

    postgres.pause()
    try:
        for _ in range(20):
            ask()
        wait_until(one_is_refused, 20, "an answer that it is too much")
    finally:
        postgres.resume()
    for thread in asking:
        thread.join()
    for answer in answers:
        if answer.status != 200:
            assert answer.code in ("OVERLOADED", "DATABASE_UNAVAILABLE")
            problem_of(answer, 503, answer.code)
    wait_until(lambda: mitrad.get(STATUS, token=mitra.token).status == 200, what="PostgreSQL again")


def test_every_heartbeat_is_answered_while_postgresql_restarts(mitrad, postgres, database, online_mitra):
    mitra = online_mitra(mitrad)
    wrong, stop = [], threading.Event()

    def beat():
        while not stop.is_set():
            answer = mitrad.post(HEARTBEAT, token=mitra.token)
            if answer.text != '{"online":true}':
                wrong.append(answer)

    beating = threading.Thread(target=beat)
    beating.start()
    for immediate in (False, True):
        postgres.restart(immediate=immediate)
        wait_until(lambda: mitrad.get(STATUS, token=mitra.token).status == 200, what="PostgreSQL again")
    stop.set()
    beating.join()
    assert not wrong


def test_connections_that_an_administrator_ends_are_made_again(mitrad, postgres, database, make_mitra):
    mitra = make_mitra()
    for _ in range(5):
        end_connections(postgres, database)
        wait_until(
            lambda: all_workers(lambda: mitrad.get(STATUS, token=mitra.token).status) == {200}, what="PostgreSQL again"
        )


def test_a_sessions_end_that_came_due_in_the_outage_is_made_up_for(
    mitrad, proxy, postgres, database, online_mitra, make_session
):
    mitra = online_mitra(mitrad)
    session = make_session(mitra)
    proxy.refuse()
    database.execute("UPDATE chat_sessions SET expires_at = now() - interval '1 hour' WHERE id = %s", session)
    proxy.forward()
    ended = "SELECT end_reason FROM chat_sessions WHERE id = %s AND status = 'ended'"
    wait_until(lambda: database.value(ended, session) == "expired", what="the session to end")


# Both away


def test_with_both_servers_away_it_lives_is_not_ready_and_comes_back(
    mitrad_factory, proxy_factory, postgres, valkey, database, make_mitra
):
    to_postgres, to_valkey = proxy_factory(postgres), proxy_factory(valkey)
    mitrad = mitrad_factory(
        arrangement=CALM,
        DATABASE_URL=database.url_through(to_postgres),
        VALKEY_URL=valkey.url_through(to_valkey),
    )
    mitra = make_mitra()
    assert mitrad.post(ONLINE, token=mitra.token).status == 200
    family = mitrad.children()
    to_postgres.refuse()
    to_valkey.refuse()

    for ask in (lambda: mitrad.post(HEARTBEAT, token=mitra.token), lambda: mitrad.get(BEACON)):
        problem_of(ask(), 503, "DATABASE_UNAVAILABLE")
    document = {"postgres": "down", "valkey": "down", "mirror": "unknown"}
    wait_until(lambda: all_workers(lambda: mitrad.get("/readyz").status) == {503}, what="both to be noticed")
    ready, live = mitrad.get("/readyz"), mitrad.get("/livez")
    assert (ready.status, ready.json) == (503, {"status": "unavailable", **document})
    assert (live.status, live.json) == (200, {"status": "ok", **document})

    to_postgres.forward()
    wait_until(lambda: all_workers(lambda: mitrad.post(HEARTBEAT, token=mitra.token).status) == {200})
    assert mitrad.get("/readyz").json["status"] == "degraded"
    to_valkey.forward()
    wait_until(lambda: all_workers(lambda: mitrad.get("/readyz").json["status"]) == {"ok"})
    assert mitrad.children() == family
