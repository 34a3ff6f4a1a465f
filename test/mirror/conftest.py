"""What the tests of the mirror share: the truth and the mirror side by side, and a listener without a server."""

import datetime
import threading

import pytest
import redis

from harness import program
from harness.mitrad import CALM


RANK, LAST_RANK = 10**13, 899  # as in common/mirror.lua


def time_of(seconds_ago=0):
    """A time as the mirror writes it."""
    at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(seconds=seconds_ago)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"


class Mirror:
    """The mirror of this test, `keys` being a client of its Valkey."""

    def __init__(self, database, valkey):
        self.database = database
        self.settings = {"DATABASE_URL": database.url, "VALKEY_URL": valkey.url}
        self.keys = valkey.client()

    def truth(self):
        """{id: (online, active, sessions)}"""
        states = self.database.rows(
            "SELECT mitra_id::text, online, active, sessions FROM mitrad.mirror_page(NULL, 1000000)"
        )
        return {state["mitra_id"]: (state["online"], state["active"], state["sessions"]) for state in states}

    def shown(self):
        """The same from Valkey; who is online without a heartbeat, or has one while offline, is seen too."""
        online, deactivated = self.keys.smembers("mitras:online"), self.keys.smembers("mitras:deactivated")
        loads = {key.rpartition(":")[2]: self.keys.get(key) for key in self.keys.scan_iter("mitra:capacity:*")}
        beating = {key.rpartition(":")[2] for key in self.keys.scan_iter("mitra:heartbeat:*")}
        assert beating == online, "a heartbeat key exists exactly for those online"
        assert (online | deactivated) <= set(loads), "everybody in a set has a capacity"
        self.assert_index_is_right(online, deactivated, loads)
        return {id: (id in online, id not in deactivated, int(load)) for id, load in loads.items()}

    def assert_index_is_right(self, online, deactivated, loads):
        """What common/mirror_index.c relies on."""
        ranking = {id: int(score // RANK) for id, score in self.keys.zrange("mirror:ranking", 0, -1, withscores=True)}
        assert ranking == {id: LAST_RANK if id in deactivated else int(loads[id]) for id in online}
        heard, silent = self.keys.get("mirror:heard"), self.keys.smembers("mirror:silent")
        for id in online - silent if heard else ():
            assert self.keys.get(f"mitra:heartbeat:{id}") >= heard, "who was not heard stands in mirror:silent"

    def equal(self):
        return self.shown() == self.truth()

    def reseed(self):
        """`mitrad reseed`: its output."""
        return program.run("reseed", settings=self.settings, check=True).stdout

    def command(self, verb):
        return program.run("mirror", verb, settings=self.settings)

    def heartbeat(self, mitra):
        return self.keys.get(f"mitra:heartbeat:{mitra.id}")

    def beat(self, mitra, seconds_ago=0):
        """Puts a heartbeat into the mirror as if it had come so long ago."""
        self.keys.set(f"mitra:heartbeat:{mitra.id}", time_of(seconds_ago))

    def put_online(self, mitra, heard_ago=0, since_ago=None):
        """In the truth only, by hand."""
        self.database.execute(
            """INSERT INTO mitra_online_status (mitra_id, is_online, online_since, last_heartbeat_at)
               VALUES (%s, true, now() - %s * interval '1 s', now() - %s * interval '1 s')
               ON CONFLICT (mitra_id) DO UPDATE SET is_online = true,
                   online_since = excluded.online_since, last_heartbeat_at = excluded.last_heartbeat_at""",
            *(mitra.id, heard_ago if since_ago is None else since_ago, heard_ago),
        )

    def is_online(self, mitra):
        """By the truth."""
        return self.database.value("SELECT is_online FROM mitra_online_status WHERE mitra_id = %s", mitra.id)

    def version(self, mitra):
        return self.database.value("SELECT version FROM mitras WHERE id = %s", mitra.id)


@pytest.fixture
def iso():
    """iso(seconds_ago=0): a time as the mirror writes it; such texts compare as the times do."""
    return time_of


@pytest.fixture
def mirror(database, valkey):
    return Mirror(database, valkey)


@pytest.fixture
def listening(mirror):
    """
    Somebody listens to heartbeats, has done so for an hour, and everyone was stamped for it, as with workers.
    Without them mirror:alive would expire.
    """
    since, stop = time_of(3600), threading.Event()

    def listen():
        keys = mirror.keys
        while not stop.wait(0.5):
            try:
                keys.set("mirror:alive", since, nx=True, ex=10)
                keys.expire("mirror:alive", 10)
            except redis.RedisError:
                continue

    mirror.keys.set("mirror:alive", since, ex=10)
    mirror.keys.set("mirror:stamped", since)
    thread = threading.Thread(target=listen)
    thread.start()
    yield since
    stop.set()
    thread.join()


@pytest.fixture
def set_limit(database):
    """set_limit(stale_after_seconds=400): puts it into app_config by hand."""

    def set_limit(**limits):
        for key, value in limits.items():
            database.execute(
                """INSERT INTO app_config (key, value) VALUES (%s, %s)
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value""",
                *(key, str(value)),
            )

    return set_limit


@pytest.fixture
def sweeper(mitrad_factory):
    """sweeper(NAME=value, …): an instance that only sweeps, and does nothing but what the settings ask for."""
    return lambda **settings: mitrad_factory("--role", "sweeper", arrangement=CALM, **settings)
