"""
Reloads and deaths while clients ask.  RELOADS and REQUESTS_PER_SECOND in the environment make it as hard as one likes:

    RELOADS=100 REQUESTS_PER_SECOND=2000 ./test/run -- test/reload/test_under_load.py
"""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from harness import process
from harness.wait import wait_until

RELOADS = int(os.environ.get("RELOADS", "20"))
REQUESTS_PER_SECOND = float(os.environ.get("REQUESTS_PER_SECOND", "400"))


class Load:
    def __init__(self, port):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(os.path.dirname(__file__), "load.py"), str(port), str(REQUESTS_PER_SECOND)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def finish(self):
        """{"answered", "failed", "reasons"}"""
        return json.loads(self.process.communicate(timeout=60)[0])


@pytest.fixture
def load():
    made = []

    def start(port):
        made.append(Load(port))
        return made[-1]

    yield start
    for each in made:
        each.process.kill()
        each.process.wait()


def memory_kib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmData:"))


def test_reloads_lose_no_request_no_process_no_descriptor_and_no_memory(reloadable, load):
    server = reloadable(LOG_LEVEL="info")
    server.reload_well()  # what a first reload needs for good is in the comparison
    server.wait_children(2)
    pid, descriptors, memory = server.pid, server.descriptors(), memory_kib(server.pid)
    clients = load(server.instance.public.port)

    for _ in range(RELOADS):
        server.reload_well()
    result = clients.finish()

    assert result["failed"] == 0, result
    assert result["answered"] > RELOADS
    server.wait_children(2)
    assert server.pid == pid
    assert server.descriptors() == descriptors
    assert memory_kib(pid) <= memory + 64


def test_a_killed_worker_costs_its_own_requests_only_and_is_replaced_at_once(reloadable, load):
    server = reloadable(LOG_LEVEL="info")
    clients = load(server.instance.public.port)
    wait_until(lambda: server.instance.get("/livez").status == 200)
    before = server.instance.children()["worker"]

    process.send(before[0], signal.SIGKILL)
    killed = time.monotonic()
    wait_until(
        lambda: len(set(server.instance.children()["worker"]) - set(before)) == 1, what="the successor to be there"
    )
    replaced = time.monotonic() - killed
    result = clients.finish()

    assert replaced < 8, "on a machine at leisure it is some milliseconds"
    # Each of the eight clients that keep their connection has at most one request there, and some of the others.
    assert result["failed"] <= 16, result
