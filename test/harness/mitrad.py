"""
The program under test as a running server: started on free ports, asked over HTTP, read by its log, stopped for good.
"""

import json
import os
import re
import signal
import subprocess

from . import ports, process, program, scratch
from .api import Api
from .wait import wait_until

# Everything happens soon: for tests that wait for the sweeper to do something.
QUICK = {
    "WORKERS": 2,
    "MITRA_AUTO_OFFLINE_SWEEP_SECONDS": 1,
    "HEARTBEAT_MIRROR_INTERVAL_SECONDS": 1,
    "VALKEY_ONLINE_MIRROR_SWEEP_SECONDS": 2,
    "SHUTDOWN_GRACE_SECONDS": 8,
    # A busy machine is no outage; whoever tests one says what it takes.
    "DATABASE_TIMEOUT_MS": 10000,
    "VALKEY_TIMEOUT_MS": 5000,
    "ENABLE_TEST_ROUTES": 1,
    "LOG_LEVEL": "debug",
    "LOG_FORMAT": "json",
}
# Nothing happens by itself: for tests that count what one request does.
CALM = {
    **QUICK,
    "MITRA_AUTO_OFFLINE_SWEEP_SECONDS": 3600,
    "HEARTBEAT_MIRROR_INTERVAL_SECONDS": 3600,
    "VALKEY_ONLINE_MIRROR_SWEEP_SECONDS": 0,
}


class Mitrad:
    """
    One instance: a master and its children.  .get(), .post(), .patch() go to the public listener, .internal.get()… to
    the internal one.  `settings` win over QUICK; a value of None leaves the setting out.
    """

    ready_seconds = 60  # how long a start may take; more where there is much to seed

    def __init__(self, settings, arguments=(), arrangement=None):
        self.settings = {**(arrangement or QUICK), **settings}
        self.arguments = list(arguments)
        self.directory = scratch.directory("mitrad")
        self.log = os.path.join(self.directory, "log")
        self.process = None
        self.public = None
        self.internal = None

    # Life

    def start(self, ready=True):
        """Returns when /readyz is 200 and all children serve; with ready=False, as soon as the process exists."""
        for _ in range(5):
            self._launch()
            if not ready or self._becomes_ready():
                return self
            if "is taken by another process" not in self.log_text():
                break
        raise RuntimeError(f"mitrad did not get ready, exit code {self.process.poll()}:\n{self.log_tail()}")

    def stop(self):
        """A graceful stop, which must succeed and leave no process behind."""
        if self.process is None:
            return
        family = process.descendants(self.pid)
        self.signal(signal.SIGTERM)
        code = self.wait_exit()
        wait_until(lambda: not set(family) & set(process.parents()), what="the children of mitrad to end")
        assert code == 0, f"mitrad stopped with exit code {code}:\n{self.log_tail()}"

    def kill(self):
        """Sudden death of the master; returns when its children are gone too."""
        if self.process is None:
            return
        family = process.descendants(self.pid)
        self.signal(signal.SIGKILL)
        self.wait_exit()
        wait_until(lambda: not set(family) & set(process.parents()), what="the orphans of mitrad to end")

    def wait_exit(self, seconds=30):
        """The exit code of the master; negative: the signal that ended it."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            family = [self.pid, *process.descendants(self.pid)]
            for pid in family:
                process.send(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None
            raise AssertionError(f"mitrad did not exit within {seconds} s:\n{self.log_tail()}") from None
        self.process = None
        return code

    def running(self):
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self):
        """The master's."""
        return self.process.pid

    def signal(self, number):
        os.kill(self.pid, number)

    def children(self):
        """{role: [pid, …]}: "worker" and "sweeper", as their titles say."""
        found = {"worker": [], "sweeper": []}
        for pid in process.descendants(self.pid):
            role = re.search(r"\b(worker|sweeper)\b", process.title(pid))
            if role:
                found[role[1]].append(pid)
        return found

    def kill_sweeper(self):
        """Sudden death of the sweeper; returns when it is gone and another is there."""
        killed = wait_until(lambda: self.children()["sweeper"], what="a sweeper")
        for pid in killed:
            process.send(pid, signal.SIGKILL)
        self.wait_successor(killed)

    def wait_successor(self, killed):
        """Returns when the sweepers with these pids, which were killed, are gone and another is there."""
        wait_until(lambda: not set(killed) & set(process.parents()), what="the killed to be gone")
        wait_until(lambda: self.children()["sweeper"], what="another sweeper")

    # Requests

    def request(self, method, path, **more):
        return self.public.request(method, path, **more)

    def get(self, path, **more):
        return self.public.get(path, **more)

    def post(self, path, **more):
        return self.public.post(path, **more)

    def patch(self, path, **more):
        return self.public.patch(path, **more)

    def metric(self, name):
        """The sum of a metric of /metrics over its labels.  Children report once a second: wait until it has moved."""
        lines = self.internal.get("/metrics").text.splitlines()
        values = [line.rpartition(" ")[2] for line in lines if re.match(rf"{name}[ {{]", line)]
        assert values, f"there is no metric {name}"
        return sum(float(value) for value in values)

    # Log

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def log_lines(self):
        """The log so far, parsed; what is no JSON object (a sanitizer's report) is left out."""
        lines = []
        for line in self.log_text().splitlines():
            try:
                parsed = json.loads(line)
            except ValueError:
                continue
            if isinstance(parsed, dict):
                lines.append(parsed)
        return lines

    def messages(self, part=""):
        """The log's messages that contain `part`."""
        return [line["message"] for line in self.log_lines() if part in line.get("message", "")]

    def wait_log(self, wanted, seconds=30, after=0):
        """
        The first log line that contains the text `wanted`, or for which the function `wanted` is true.  Lines before
        index `after` (len(log_lines()) at some moment) do not count.
        """
        predicate = wanted if callable(wanted) else lambda line: wanted in line.get("message", "")

        def found():
            return next((line for line in self.log_lines()[after:] if predicate(line)), None)

        return wait_until(found, seconds, f"a log line {wanted!r}")

    def log_tail(self, lines=60):
        return "\n".join(self.log_text().splitlines()[-lines:])

    # Starting

    def _launch(self):
        self.public = Api(self._port_of("PUBLIC_LISTEN"))
        self.internal = Api(self._port_of("INTERNAL_LISTEN"))
        settings = {
            "PUBLIC_LISTEN": f"127.0.0.1:{self.public.port}",
            "INTERNAL_LISTEN": f"127.0.0.1:{self.internal.port}",
            **self.settings,
        }
        self.process = process.launch(
            [program.binary(), "serve", *self.arguments],
            self.directory,
            self.log,
            program.environment(settings),
        )

    def _port_of(self, listener):
        given = self.settings.get(listener)
        return int(given.rpartition(":")[2]) if given else ports.free_port()

    def _becomes_ready(self):
        wait_until(
            lambda: not self.running() or (self._answers_ready() and self._says_ready()),
            self.ready_seconds,
            "mitrad to get ready",
        )
        return self.running()

    def _says_ready(self):
        """The first worker answers before the last has begun."""
        return self.settings["LOG_LEVEL"] not in ("debug", "info") or " is ready: " in self.log_text()

    def _answers_ready(self):
        """Either listener will do: an instance of one role serves only one of them."""
        for api in (self.public, self.internal):
            try:
                if api.get("/readyz").status == 200:
                    return True
            except OSError:
                continue
        return False
