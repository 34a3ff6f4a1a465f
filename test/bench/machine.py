"""The machine: its cores and who gets which, what processes used of it, and what it calls itself."""

import contextlib
import datetime
import os
import platform
import resource
import subprocess
import time


class Cores:
    """
    Who runs where.  The server measured has a core of its own; the load generator, Valkey and PostgreSQL share the rest, or
    have one each where there are four.
    """

    def __init__(self):
        self.all = sorted(os.sched_getaffinity(0))
        self.server = {self.all[-1]}
        others = self.all[:-1] or self.all
        self.load = {others[0]}
        self.valkey = {others[1 % len(others)]}
        self.postgres = set(others[2:]) or {others[-1]}
        self.postgres_nice = 0 if len(others) > 2 else 10  # elsewhere it has a machine of its own

    def describe(self):
        """One sentence for the report."""
        if len(self.all) == 1:
            return "one core for everything: the times say little, the CPU time per request still holds roughly"
        if len(self.all) == 2:
            return (
                "the server measured alone on one core; the load generator, Valkey and, at a lower priority, PostgreSQL on the"
                " other"
            )
        return (
            f"the server measured alone on core {_listed(self.server)}, the load generator on {_listed(self.load)},"
            f" Valkey on {_listed(self.valkey)}, PostgreSQL on {_listed(self.postgres)}"
        )


def _listed(cores):
    return ", ".join(str(core) for core in sorted(cores))


@contextlib.contextmanager
def on(cores, nice=0):
    """What is started inside runs on these cores only, root's at that priority; it inherits both from us."""
    before = os.sched_getaffinity(0)
    niceness = nice if os.geteuid() == 0 else 0
    os.sched_setaffinity(0, cores)
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) - niceness)


def allow_connections(count):
    """Descriptors for so many connections, for us and for whatever we start.  Returns how many there may be."""
    wanted = count + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted and os.geteuid() == 0:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    elif soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return min(count, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 1000)


def cpu_seconds(pid):
    """User and system time of all threads of a process; 0 if it is gone.  See clock_getcpuclockid(3)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0


def memory_kib(pid, field="Rss"):
    """Rss, Pss, Private_Dirty… of a process."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as rollup:
        for line in rollup:
            if line.startswith(f"{field}:"):
                return int(line.split()[1])
    raise RuntimeError(f"no {field} in smaps_rollup")


def peak_kib(pid):
    """The most that was resident since the last forget_peak()."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def forget_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")


def facts():
    """What a reader must know of the machine to compare."""
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        model = next((line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    with open("/proc/meminfo", encoding="utf-8") as meminfo:
        memory_gib = int(meminfo.readline().split()[1]) / 2**20
    return {
        "date": datetime.date.today().isoformat(),
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_gib, 1),
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 2),
    }


def version_of(*command):
    """The first line that a program says of its version; None if it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return (done.stdout or done.stderr).strip().split("\n")[0]
