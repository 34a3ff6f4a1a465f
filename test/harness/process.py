"""
Processes: started so that they cannot outlive the test, seen through /proc, stopped and resumed as a whole tree.
"""

import os
import pwd
import re
import signal
import subprocess

from .wait import wait_until


def launch(command, cwd, log, env, user=None, when_orphaned="KILL"):
    """
    Starts `command` in `cwd` with stdout and stderr appended to the file `log`.

    setpriv asks the kernel to signal the process when we die, however we die, and drops root for those that refuse to
    run as root.  It then executes the command in its own place: the pid is the command's.
    """
    prefix = ["setpriv", "--pdeathsig", when_orphaned]
    if user is not None:
        group = pwd.getpwnam(user).pw_gid
        prefix += ["--reuid", user, "--regid", str(group), "--init-groups"]
    with open(log, "ab") as output:
        return subprocess.Popen(
            [*prefix, *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def parents():
    """{pid: pid of its parent} of every process alive (zombies are not)."""
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as stat:
                # The command's name stands in parentheses and may hold anything, a parenthesis too.
                state, parent = stat.read().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state not in "ZX":
            found[int(name)] = int(parent)
    return found


def descendants(pid):
    """The pids of all children, grandchildren... of `pid`, parents before children."""
    family = parents()
    found = [pid]
    for member in found:
        found += [child for child, parent in family.items() if parent == member]
    return found[1:]


def is_alive(pid):
    return pid in parents()


def title(pid):
    """What ps shows of a process; "" when it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
            return cmdline.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def cpu_seconds(pid):
    """What a process has used so far."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sockets(pid):
    """How many listening TCP sockets and channels to the master the process has."""
    with open(f"/proc/{pid}/net/unix", encoding="utf-8") as table:
        # Type 5 is SOCK_SEQPACKET: nothing else here is one.
        channels = {row.split()[6] for row in table if row.split()[4] == "0005"}
    listening = set()
    for family in ("tcp", "tcp6"):
        with open(f"/proc/{pid}/net/{family}", encoding="utf-8") as table:
            listening |= {row.split()[9] for row in table if row.split()[3] == "0A"}
    found = {}
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            inode = re.findall(r"socket:\[(\d+)\]", os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:  # closed meanwhile
            continue
        kind = "listening" if inode and inode[0] in listening else "other" if inode and inode[0] in channels else None
        if kind:
            found[kind] = found.get(kind, 0) + 1
    return found


def send(pid, number):
    """Signals a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class PrivateServer:
    """
    A server that the suite owns: what PostgreSQL and Valkey have in common.

    A subclass says how it is started (`_command`), when it answers (`_answers`), and which signal stops it politely.
    """

    name = "server"
    run_as = None  # a user to become; None: whoever we are
    stop_signal = signal.SIGTERM
    orphan_signal = "KILL"

    def __init__(self, directory):
        self.directory = directory
        self.log = os.path.join(directory, "log")
        self.process = None
        self._paused = False

    def _command(self):
        raise NotImplementedError

    def _answers(self):
        raise NotImplementedError

    def _environment(self):
        return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process is not None and self.process.poll() is None

    def start(self):
        """Returns when the server answers."""
        assert not self.running(), f"{self.name} runs already"
        self.process = launch(
            self._command(), self.directory, self.log, self._environment(), self.run_as, self.orphan_signal
        )
        wait_until(lambda: not self.running() or self._answers(), 60, f"{self.name} to answer")
        if not self.running():
            raise RuntimeError(f"{self.name} did not start:\n{self.log_tail()}")
        return self

    def stop(self):
        """A polite stop: what it must keep is kept."""
        self._end(self.stop_signal)

    def kill(self):
        """Sudden death of the server and of all its children."""
        for pid in self._tree():
            send(pid, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def restart(self):
        self.stop()
        return self.start()

    def pause(self):
        """Still accepts connections (the kernel does) but never answers: the way a hung machine looks."""
        for pid in self._tree():
            send(pid, signal.SIGSTOP)
        self._paused = True

    def resume(self):
        for pid in reversed(self._tree()):
            send(pid, signal.SIGCONT)
        self._paused = False

    def ensure_running(self):
        """Undoes whatever a test did to the server."""
        if self._paused:
            self.resume()
        if not self.running():
            self.start()
        return self

    def log_text(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def log_tail(self, lines=30):
        return "".join(self.log_text().splitlines(keepends=True)[-lines:])

    def _tree(self):
        return [self.pid, *descendants(self.pid)] if self.running() else []

    def _end(self, number):
        if self.process is None:
            return
        if self._paused:
            self.resume()
        family = self._tree()
        send(self.pid, number)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.process = None
        wait_until(lambda: not set(family) & set(parents()), 30, f"the children of {self.name} to end")
