"""The wall clock is set by an hour while everything runs, on the program's machine alone or on one that all servers share."""

import os
import shutil
import struct
import threading
import time

import pytest

from harness import people, process, program, scratch, tokens
from harness.postgres import Postgres
from harness.valkey import Valkey
from harness.wait import holds_for, wait_until

HOUR = 3600
STALE_SECONDS = 10  # the least that can be set
BEATING = 21  # enough for the brake to look


class WallClock:
    """What the servers that have `environment` take for the time of day; see wall_clock.c."""

    def __init__(self):
        # Where the user that PostgreSQL runs as can read it.
        directory = scratch.directory("clock")
        os.chmod(directory, 0o755)
        library = shutil.copy(os.path.join(program.build(), "test/outage/libwall_clock.so"), directory)
        self._file = os.path.join(directory, "offset")
        self.set(0)
        self.environment = {"LD_PRELOAD": library, "WALL_CLOCK_FILE": self._file}

    def set(self, seconds):
        """From the right time."""
        with open(self._file, "r+b" if os.path.exists(self._file) else "wb") as file:
            file.write(struct.pack("=q", seconds))


@pytest.fixture
def clock():
    return WallClock()


class Preloaded:
    def __init__(self, clock):
        self._clock = clock
        super().__init__()

    def _environment(self):
        return {**super()._environment(), **self._clock.environment}


class PreloadedPostgres(Preloaded, Postgres):
    pass


class PreloadedValkey(Preloaded, Valkey):
    pass


@pytest.fixture(params=["of the program", "of all"])
def whose(request):
    """Whose clock it is that is set."""
    return request.param


@pytest.fixture
def servers(whose, clock, database, valkey):
    """(database, valkey)"""
    if whose == "of the program":
        yield database, valkey
        return
    own_postgres, own_valkey = PreloadedPostgres(clock), PreloadedValkey(clock).start()
    yield own_postgres.create_database(), own_valkey
    own_postgres.stop()
    own_valkey.stop()


@pytest.fixture
def mitrad(mitrad_factory, servers, clock):
    database, valkey = servers
    database.execute(
        "INSERT INTO app_config (key, value) VALUES ('stale_after_seconds', %s)"
        " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        str(STALE_SECONDS),
    )
    asan = program.environment()["ASAN_OPTIONS"] + ":verify_asan_link_order=0"
    mitrad = mitrad_factory(
        DATABASE_URL=database.url,
        VALKEY_URL=valkey.url,
        MITRA_AUTO_OFFLINE_SWEEP_SECONDS=1,
        HEARTBEAT_MIRROR_INTERVAL_SECONDS=1,
        ASAN_OPTIONS=asan,
        **clock.environment,
    )
    mitrad.wait_log(" is ready: ")
    yield mitrad
    mitrad.stop()  # before its servers


@pytest.fixture
def lasting_token():
    """lasting_token(mitra): one that is good in the hours before and after, too."""
    return lambda mitra: tokens.mint("mitra", mitra.id, ttl=3 * HOUR)


@pytest.fixture
def beating(mitrad, servers, lasting_token):
    """Mitras who are online and beat all the time."""
    mitras = [people.make_mitra(servers[0]) for _ in range(BEATING)]
    headers = [lasting_token(mitra) for mitra in mitras]
    for token in headers:
        assert mitrad.post("/api/mitra/status/online", token=token).status == 200
    stop, refused = threading.Event(), []

    def beat():
        while not stop.wait(1):
            for token in headers:
                answer = mitrad.post("/api/mitra/status/heartbeat", token=token)
                if answer.json != {"online": True}:
                    refused.append(answer)

    thread = threading.Thread(target=beat)
    thread.start()
    yield mitras
    stop.set()
    thread.join()
    assert refused == []


@pytest.mark.parametrize("step", [HOUR, -HOUR], ids=["forward", "back"])
def test_a_clock_that_is_set_throws_nobody_offline_who_beats_and_ends_no_child(
    whose, step, mitrad, servers, clock, beating, lasting_token
):
    """Who is silent goes offline as ever; but as long as the program's clock is behind the truth's, nobody can tell."""
    database, _ = servers
    silent = people.make_mitra(database)
    assert mitrad.post("/api/mitra/status/online", token=lasting_token(silent)).status == 200
    children = mitrad.children()

    def gone():
        rows = database.rows("SELECT mitra_id::text FROM mitra_online_logs WHERE status = 'offline'")
        return {row["mitra_id"] for row in rows}

    def cpu_seconds():
        return sum(process.cpu_seconds(pid) for pids in children.values() for pid in pids)

    def count():
        return mitrad.get("/public/bestie-availability").json["count"]

    clock.set(step)

    mitrad.wait_log("[sweeper] the clock was set by ")
    wait_until(lambda: count() >= BEATING, what="everybody who beats to be available")
    if (whose, step) == ("of the program", -HOUR):
        holds_for(lambda: gone() == set() and count() >= BEATING, 2 * STALE_SECONDS, "nobody offline")
        clock.set(0)
    wait_until(lambda: gone() == {silent.id}, 60, "the silent one to go offline, and nobody else")
    wait_until(lambda: count() == BEATING, what="the beacon to follow")
    used, began = cpu_seconds(), time.monotonic()
    holds_for(lambda: gone() == {silent.id} and count() == BEATING, 5, "those who beat, and nobody else, available")
    assert cpu_seconds() - used < (time.monotonic() - began) * 0.5, "no child is busy"
    assert mitrad.children() == children
    assert not mitrad.messages("online mitras are silent")
