"""
What the outage tests share: a world of mitras in every state that matters, everything that can be asked and done in it, and
the truth by SQL that each answer is held against.
"""

import json
import uuid

import pytest

from harness import people, program, tokens
from harness.api import problem_of
from harness.wait import wait_until

ONLINE, OFFLINE, HEARTBEAT = (f"/api/mitra/status/{verb}" for verb in ("online", "offline", "heartbeat"))
LONG_AGO = "2020-02-20T20:20:20.200Z"
EVERY_WORKER = 24  # requests meet both workers, by chance: it would be one in sixteen million that they do not


class World:
    """
    `silent` and `deactivated` are there from the beginning.  try_everything() does and asks all that the API can, with
    people of its own, asserts that each answer is right, and returns which servers the reads came from.
    """

    def __init__(self, mitrad, database):
        self.mitrad = mitrad
        self.database = database
        self.operator = tokens.mint("operator")
        self.silent = self.online_mitra()
        self.deactivated = self.online_mitra()
        self.patch(f"mitras/{self.deactivated.id}", is_active=False)

    def forget_silent(self, valkey):
        """From now on nobody has heard of `silent` for years, in both servers."""
        self.database.execute(
            "UPDATE mitra_online_status SET last_heartbeat_at = %s, online_since = %s WHERE mitra_id = %s",
            *(LONG_AGO, LONG_AGO, self.silent.id),
        )
        with valkey.client() as client:
            client.set(f"mitra:heartbeat:{self.silent.id}", LONG_AGO)

    # What one can do

    def online_mitra(self):
        mitra = people.make_mitra(self.database)
        assert self.toggle(mitra, ONLINE)["online"] is True
        return mitra

    def toggle(self, mitra, path):
        answer = self.mitrad.post(path, token=mitra.token)
        assert answer.status == 200, answer
        return answer.json

    def beat(self, mitra):
        return self.mitrad.post(HEARTBEAT, token=mitra.token)

    def read(self, path):
        answer = self.mitrad.internal.get(f"/internal/{path}", token=self.operator)
        assert answer.status == 200, answer
        return answer.json

    def patch(self, path, **changes):
        answer = self.mitrad.internal.patch(f"/internal/{path}", token=self.operator, json=changes)
        assert answer.status == 200, answer
        return answer.json

    def reachable(self, mitra):
        return self.read(f"mitras/{mitra.id}/reachability")["reachable"]

    def sources(self, times=1):
        """Which server each read came from; ask often enough to meet every worker."""
        paths = ("availability", "dashboard", f"mitras/{self.silent.id}/reachability")
        return {self.read(path)["source"] for path in paths for _ in range(times)}

    def comes_back(self, seconds=30):
        """Waits until all workers read from Valkey again, and until the mirror is equal to the truth."""
        wait_until(lambda: self.sources(times=8) == {"valkey"}, seconds, "Valkey to be used again")
        wait_until(self.mirror_is_right, seconds, "the mirror to be equal to the truth")

    def mirror_is_right(self):
        return program.run("mirror", "verify", settings=self.mitrad.settings).returncode == 0

    # All of it

    def try_everything(self):
        before = self.sources()
        mitra, full = self._toggles(), self._full_mitra()
        self._heartbeats(mitra)
        self._status(mitra, full)
        self._deactivation()
        self._limits(mitra, full)
        self._lists(mitra, full)
        self._counts()
        self.toggle(mitra, OFFLINE)
        return before | self.sources()

    def _toggles(self):
        mitra = people.make_mitra(self.database)
        first = self.toggle(mitra, ONLINE)
        assert self.toggle(mitra, ONLINE)["online_since"] == first["online_since"]
        assert self.toggle(mitra, OFFLINE)["online"] is False
        assert self.toggle(mitra, ONLINE)["online"] is True
        logs = self.read(f"mitras/{mitra.id}/online-logs")["logs"]
        assert [log["status"] for log in logs] == ["online", "offline", "online"]
        return mitra

    def _full_mitra(self):
        mitra = self.online_mitra()
        for _ in range(3):
            people.make_session(self.database, mitra)
        self.toggle(mitra, ONLINE)
        return mitra

    def _heartbeats(self, mitra):
        answer = self.beat(mitra)
        assert (answer.status, answer.json) == (200, {"online": True})
        answer = self.beat(people.make_mitra(self.database))
        assert (answer.status, answer.json) == (200, {"online": False})
        problem_of(self.beat(self.deactivated), 403, "ACCOUNT_INACTIVE")
        stranger = self.mitrad.post(HEARTBEAT, token=tokens.mint("mitra", str(uuid.uuid4())))
        problem_of(stranger, 401, "UNAUTHENTICATED")

    def _status(self, mitra, full):
        for one, sessions in ((mitra, 0), (full, 3)):
            status = self.mitrad.get("/api/mitra/status", token=one.token).json
            assert (status["online"], status["active_sessions"]) == (True, sessions)

    def _deactivation(self):
        mitra = self.online_mitra()
        path = f"mitras/{mitra.id}"
        assert self.patch(path, is_active=False)["online"] is False
        problem_of(self.beat(mitra), 403, "ACCOUNT_INACTIVE")
        assert self.reachable(mitra) is False
        assert self.patch(path, is_active=True, display_name="Back")["online"] is False
        assert self.beat(mitra).json == {"online": False}

    def _limits(self, mitra, full):
        self.patch("config", max_customers_per_mitra=4)
        wait_until(lambda: all(full.id in self._listed() for _ in range(EVERY_WORKER)), what="the new limit in every worker")
        self.patch("config", max_customers_per_mitra=3)
        wait_until(lambda: all(full.id not in self._listed() for _ in range(EVERY_WORKER)), what="the old one in every worker")

    def _listed(self):
        return [mitra["id"] for mitra in self.read("availability")["mitras"]]

    def _lists(self, mitra, full):
        truth = [row["id"] for row in self.database.rows("SELECT id FROM mitrad.availability()")]
        assert self._listed() == truth
        assert mitra.id in truth and not {full.id, self.silent.id, self.deactivated.id} & set(truth)
        assert self.reachable(mitra) and self.reachable(full)
        assert not self.reachable(self.silent) and not self.reachable(self.deactivated)

    def _counts(self):
        shown = self.read("dashboard")
        truth = json.loads(self.database.value("SELECT answer FROM mitrad.dashboard(NULL, NULL, NULL)"))
        for changing in ("source", "as_of"):
            shown.pop(changing), truth.pop(changing)
        assert shown == truth
        count = shown["available_mitras"]
        beacon = {"available": count > 0, "count": count}
        wait_until(lambda: beacon.items() <= self.mitrad.get("/public/bestie-availability").json.items(), what="the beacon")


@pytest.fixture
def world_of(database):
    """world_of(instance): a World in it."""
    return lambda instance: World(instance, database)
