"""What the tests of events share: ways to make them happen, and people who wait for them."""

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import tokens
from harness.mitrad import CALM
from harness.wait import wait_until

EMIT = """SELECT event FROM mitrad.events_emit(ARRAY(
    SELECT (%s, %s, %s, NULL, jsonb_build_object('n', n))::mitrad.event FROM generate_series(1, %s) n))"""

PATIENCE_SECONDS = 60


class Listener:
    """Somebody with events: a mitra or a customer, by default one whom nothing else happens to."""

    def __init__(self, user_type="customer", user_id=None):
        self.user_type = user_type
        self.id = user_id or str(uuid.uuid4())
        self.token = tokens.mint(user_type, self.id)
        self.path = "/api/mitra/events" if user_type == "mitra" else "/api/client/events"
        self.channel = f"user:{user_type}:{self.id}"

    def ask(self, instance, after=0, wait=0, timeout=60, **more):
        query = "&".join(f"{name}={value}" for name, value in {"after": after, "wait": wait, **more}.items())
        return instance.get(f"{self.path}?{query}", token=self.token, timeout=timeout)

    def events(self, instance, **more):
        answer = self.ask(instance, **more)
        assert answer.status == 200, answer
        return answer.json["events"]


class Waiting:
    """A request under way in a thread, and when its answer came."""

    def __init__(self, ask):
        self.answer = None
        self.thread = threading.Thread(target=self._run, args=(ask,), daemon=True)
        self.began = time.monotonic()
        self.thread.start()

    def _run(self, ask):
        self.answer = ask()
        self.seconds = time.monotonic() - self.began

    def done(self):
        return not self.thread.is_alive()

    def result(self, seconds=40):
        self.thread.join(seconds)
        assert self.done(), "it is still waiting"
        return self.answer


@pytest.fixture
def instance(mitrad_factory):
    """A calm instance of one worker, so that its gauges tell of all who wait."""
    return mitrad_factory(arrangement=CALM, WORKERS=1)


@pytest.fixture
def patient(mitrad_factory):
    """The same, of long patience at its end: what is over soon was not waited for."""
    return mitrad_factory(arrangement=CALM, WORKERS=1, SHUTDOWN_GRACE_SECONDS=PATIENCE_SECONDS)


@pytest.fixture
def emit(database, valkey):
    """emit(listener, count=1, publish=True): events as a transition makes them."""

    def emit(listener, count=1, kind="status_changed", publish=True):
        rows = database.rows(EMIT, listener.user_type, listener.id, kind, count)
        if publish:
            with valkey.client() as client:
                for row in rows:
                    client.publish(listener.channel, row["event"])
        return sorted((json.loads(row["event"]) for row in rows), key=lambda event: event["seq"])

    return emit


@pytest.fixture
def listener():
    return Listener()


@pytest.fixture
def waiting():
    """waiting(instance, listener, after=0, wait=25): a long poll under way, known to the instance."""

    def wait(instance, listener, known=None, **more):
        more = {"wait": 25, **more}
        begun = Waiting(lambda: listener.ask(instance, **more))
        if known is not None:
            wait_until(lambda: instance.metric("mitrad_event_waits") == known, what=f"{known} to wait")
        return begun

    return wait


@pytest.fixture
def pool():
    with ThreadPoolExecutor(32) as executor:
        yield executor
