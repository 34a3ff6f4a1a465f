"""
An instance that can be reloaded: its program is a copy that a test may replace, its settings stand in a file that a
test may rewrite.
"""

import json
import os
import shutil
import signal

import pytest

from harness import process, program, scratch
from harness.api import Api
from harness.wait import wait_until


class Reloadable:
    """`instance` is the running Mitrad; `settings` is what the file says, rewritten by configure()."""

    def __init__(self, make, settings):
        self.directory = scratch.directory("reload")
        self.program = os.path.join(self.directory, "mitrad")
        self.file = os.path.join(self.directory, "mitrad.conf")
        self.settings = {}
        self.install(program.binary())
        self.configure(**settings)
        # What the file is to say must not come by environment, which would win.
        self.instance = make("--config", self.file, WORKERS=None, start=False)
        self.instance.settings.update(dict.fromkeys(self.settings))

    def start(self):
        self.instance.start()
        if "PUBLIC_LISTEN" in self.settings:
            self.instance.public = Api(int(self.settings["PUBLIC_LISTEN"].rpartition(":")[2]))

    def configure(self, **settings):
        self.settings.update({name: str(value) for name, value in settings.items()})
        self.write("".join(f"{name}={value}\n" for name, value in self.settings.items()))

    def write(self, text):
        with open(self.file + ".new", "w", encoding="utf-8") as out:
            out.write(text)
        os.rename(self.file + ".new", self.file)

    def install(self, source):
        """Puts a copy of that file in the program's place, as an upgrade does: under a new inode."""
        shutil.copy(source, self.program + ".new")
        os.chmod(self.program + ".new", 0o755)
        os.rename(self.program + ".new", self.program)

    def install_text(self, text):
        source = os.path.join(self.directory, "text")
        with open(source, "w", encoding="utf-8") as out:
            out.write(text)
        self.install(source)

    @property
    def pid(self):
        return self.instance.pid

    def children(self):
        return set(process.descendants(self.pid))

    def hup(self):
        self.instance.signal(signal.SIGHUP)

    def reload(self):
        """HUP, until it is decided: the log line that says how."""
        seen = os.path.getsize(self.instance.log)
        self.hup()
        return wait_until(lambda: self._decision(seen), 60, "the reload to be decided")

    def _decision(self, seen):
        """The first after so many bytes of the log: under load that has many lines, and few of them are the master's."""
        with open(self.instance.log, "rb") as log:
            log.seek(seen)
            for line in log:
                if line.endswith(b"\n") and (b"is reloaded" in line or b'"reload refused' in line or b'"reload failed' in line):
                    return json.loads(line)
        return None

    def reload_well(self):
        line = self.reload()
        assert "is reloaded" in line["message"], line
        return line

    def wait_children(self, workers):
        """Until there is nobody but one sweeper and so many workers."""
        wait_until(
            lambda: len(self.children()) == workers + 1 and len(self.instance.children()["worker"]) == workers,
            what=f"{workers} workers and a sweeper to be all that is left",
        )

    def descriptors(self):
        """Of the master, once it has one channel for each child, and none of those who are gone."""
        wait_until(
            lambda: process.sockets(self.pid).get("other") == len(self.children()), what="former channels to be closed"
        )
        return len(os.listdir(f"/proc/{self.pid}/fd"))


@pytest.fixture
def reloadable(mitrad_factory, database, valkey, monkeypatch):
    """reloadable(NAME=value, …): a running Reloadable with two workers; the values stand in its file."""

    def make(start=True, **settings):
        made = Reloadable(mitrad_factory, {"WORKERS": 2, **settings})
        monkeypatch.setattr(program, "binary", lambda: made.program)
        if start:
            made.start()
        return made

    return make
