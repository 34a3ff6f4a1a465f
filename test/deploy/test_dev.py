"""
./deploy/dev, as a stranger uses it: everything that it prints is pasted into a shell, in that order.

It runs in a copy of the deploy folder beside the build under test, so that it has a .dev/ of its own.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess

import pytest

from harness import ports, process, program, scratch
from harness.wait import wait_until


class Dev:
    def __init__(self):
        self.directory = scratch.directory("dev")
        os.chmod(self.directory, 0o755)
        shutil.copytree(os.path.join(program.REPOSITORY, "deploy"), os.path.join(self.directory, "deploy"))
        os.symlink(program.build(), os.path.join(self.directory, "build"))
        self.public = ports.free_port()
        self.internal = ports.free_port()
        self.output = os.path.join(self.directory, "output")
        self.process = None

    def launch(self):
        env = {
            **program.environment(),
            "HOME": self.directory,
            "PUBLIC_LISTEN": f"127.0.0.1:{self.public}",
            "INTERNAL_LISTEN": f"127.0.0.1:{self.internal}",
            "WORKERS": "2",
        }
        # Whoever runs the suite in the background ignores SIGINT, and a shell cannot trap what it began with ignoring.
        command = ["env", "--default-signal=INT", os.path.join(self.directory, "deploy", "dev")]
        self.process = process.launch(command, self.directory, self.output, env, when_orphaned="TERM")
        return self

    def start(self):
        self.launch()
        wait_until(lambda: not self.running() or "Ctrl-C stops everything" in self.text(), 120, "the banner")
        assert self.running(), self.text()
        return self

    def stop(self, number=signal.SIGINT):
        """Its exit code; all that it started must be gone."""
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.process = None
        wait_until(lambda: not self.left_over(), what="the servers of ./deploy/dev to end")
        return code

    def running(self):
        return self.process is not None and self.process.poll() is None

    def text(self):
        with open(self.output, encoding="utf-8", errors="replace") as output:
            return output.read()

    def left_over(self):
        """Processes that work in the copy, PostgreSQL's and Valkey's included."""
        return [pid for pid in process.parents() if _works_in(pid, self.directory)]

    def paste(self, *parts):
        """Runs the printed commands that contain one of `parts` in a shell; returns the lines of what they print."""
        banner = self.text()
        tokens = re.findall(r"^\w+='Authorization: Bearer .*'$", banner, re.MULTILINE)
        commands = [line for line in banner.splitlines() if any(part in line for part in parts)]
        assert commands, f"no printed command has {parts}"
        done = subprocess.run(
            ["bash", "-c", "\n".join([*tokens, *commands])],
            cwd="/",
            env={"PATH": os.environ["PATH"]},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done.stdout.splitlines()


def _works_in(pid, directory):
    try:
        where = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False
    return where == directory or where.startswith(directory + "/")


@pytest.fixture
def dev():
    made = Dev()
    yield made
    print("\n".join(made.text().splitlines()[-60:]))
    if made.running():
        made.stop(signal.SIGTERM)


def test_the_printed_requests_lead_through_the_whole_story(dev):
    dev.start()

    assert json.loads(dev.paste("/status/online")[0])["online"] is True
    assert json.loads(dev.paste("/status/heartbeat;")[0]) == {"online": True}
    # The beacon is a snapshot that is made anew every second or so.
    wait_until(
        lambda: json.loads(dev.paste("/bestie-availability")[0])["count"] == 1, what="the beacon"
    )
    assert json.loads(dev.paste("/internal/dashboard")[0])["online_mitras"] == 1

    signed_in, refreshed = (json.loads(line) for line in dev.paste("/internal/auth/"))
    assert signed_in["user"]["role"] == "admin" and refreshed["user"] == signed_in["user"]
    assert {"access_token", "expires_in", "user"} == signed_in.keys() == refreshed.keys()

    before = len(dev.text())
    dev.paste("valkey stop")
    assert [json.loads(line) for line in dev.paste("/status/heartbeat;")] == [{"online": True}] * 3
    assert json.loads(dev.paste("/internal/dashboard")[0])["source"] == "postgres"
    dev.paste("valkey start")
    wait_until(lambda: dev.text()[before:].count("[valkey] up again") >= 3, what="two workers and the sweeper to be back")
    wait_until(lambda: json.loads(dev.paste("/internal/dashboard")[0])["source"] == "valkey", what="the mirror")

    dev.paste('"is_active":false')
    assert json.loads(dev.paste("/status/heartbeat;")[0])["code"] == "ACCOUNT_INACTIVE"
    dev.paste('"is_active":true')
    assert json.loads(dev.paste("seed-mitra")[0])["display_name"] == "Demo mitra 9"
    assert dev.stop() == 0


def test_data_is_kept_and_a_second_run_needs_no_installation(dev):
    dev.start()
    dev.paste("/status/online")
    assert dev.stop(signal.SIGTERM) == 0
    os.truncate(dev.output, 0)
    dev.start()
    assert "creating" not in dev.text()
    assert json.loads(dev.paste("/internal/dashboard")[0])["online_mitras"] == 1
    assert dev.stop() == 0


def test_a_taken_port_is_named(dev):
    with socket.socket() as other:
        other.bind(("127.0.0.1", dev.internal))
        other.listen()
        dev.launch()
        assert dev.process.wait(60) == 1
    dev.process = None
    assert f"port {dev.internal} is taken" in dev.text()
    assert not dev.left_over()
