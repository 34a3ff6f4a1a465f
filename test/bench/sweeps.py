"""
How it grows: the sweeper's passes and the blast read with 300 to 1,000,000 mitras online, and what a heartbeat feels of it.

For each size there are two instances on one mirror: one serves apps and gets 3,333 heartbeats a second all the time; the
other sweeps, and serves the operators.  Its passes come one after the other, each at its own period: first nothing (the calm to
compare with), then auto-offline, heartbeat mirror, reseed.  Nobody is stale, so a pass looks at everybody and takes nobody.
"""

import os
import statistics
import time

from harness import scratch
from harness.wait import wait_until
from . import candidates, load, machine, people, work

SIZES = (300, 10_000, 100_000, 1_000_000)
PASSES = ("auto_offline", "heartbeats", "reseed")
RATE = 3333
BEATING = 10_000  # mitras at most who send those heartbeats
BLAST_LIMIT = 50
QUIET_SECONDS = 2.5
SAMPLE_SECONDS = 0.01
SLOW_COMMAND_US = 200


class Trace:
    """The CPU time of a process as it goes, by which its passes are found."""

    def __init__(self, pid):
        self.pid = pid
        self.points = []

    def record(self, seconds):
        ends = time.monotonic() + seconds
        while (now := time.monotonic()) < ends:
            self.points.append((now, machine.cpu_seconds(self.pid)))
            time.sleep(SAMPLE_SECONDS)

    def quiet(self):
        """Nothing but the watch of each second has run for a while."""
        now, used = self.points[-1]
        before = next((cpu for at, cpu in reversed(self.points) if at <= now - QUIET_SECONDS), used)
        return used - before < 0.005 * QUIET_SECONDS

    def active_from(self, moment):
        """When it next began to work; None: it did not."""
        for (at, cpu), (_, later) in zip(self.points, self.points[1:]):
            if at >= moment and later - cpu > 0.0004:
                return at
        return None

    def used(self, begin, end):
        inside = [cpu for at, cpu in self.points if begin <= at <= end]
        return inside[-1] - inside[0] if inside else 0.0


def _calm_seconds(size):
    """Until the first pass.  More than all passes take: before they come again, the reads are measured."""
    return 4 if size <= 10_000 else 6 if size <= 100_000 else 40


def _start(stores, cores, database, size):
    calm = _calm_seconds(size)
    front = candidates.MitradCandidate(stores, cores, database, role="public")
    behind = candidates.MitradCandidate(
        stores,
        cores,
        database,
        role="sweeper",
        settings={
            "MITRA_AUTO_OFFLINE_SWEEP_SECONDS": calm,
            "HEARTBEAT_MIRROR_INTERVAL_SECONDS": calm + 1,
            "VALKEY_ONLINE_MIRROR_SWEEP_SECONDS": calm + 2,
        },
    )
    behind.mitrad.ready_seconds = 300
    front.start()
    try:
        behind.start()
        wait_until(lambda: _seeded(stores), 300, "the mirror to be seeded")
        _age(stores)
    except BaseException:
        behind.stop()
        front.stop()
        raise
    return front, behind


def _seeded(stores):
    with stores.valkey.client() as client:
        return client.exists("mirror:generation")


def _age(stores):
    """As if somebody had listened for days: silence before mirror:alive does not count, so there would be nothing to look for."""
    long_ago = "2020-01-01T00:00:00.000Z"
    with stores.valkey.client() as client, client.pipeline() as transaction:
        transaction.set("mirror:alive", long_ago, keepttl=True)
        transaction.set("mirror:stamped", long_ago)
        transaction.execute()


def _latencies(path):
    """[(due, took)] of the heartbeats, in seconds and microseconds; what is half written is left out."""
    with open(path, encoding="ascii") as file:
        lines = file.read().split("\n")[:-1]
    return [(int(due) / 1e6, int(took)) for due, took in (line.split() for line in lines)]


def _p99_ms(latencies, begin, end):
    inside = sorted(took for due, took in latencies if begin <= due < end)
    return inside[int(len(inside) * 0.99)] / 1000 if len(inside) >= 300 else None


def _durations(behind):
    """{pass: seconds} of each pass's last run, as the program itself says."""
    lines = behind.mitrad.internal.get("/metrics").text.splitlines()
    said = dict(line.rsplit(" ", 1) for line in lines if line.startswith("mitrad_sweep_"))
    for name in PASSES:
        if float(said[f'mitrad_sweep_last_success_timestamp_seconds{{sweep="{name}"}}']) == 0:
            raise RuntimeError(f"the pass {name} did not succeed in time:\n{behind.mitrad.log_tail()}")
    return {name: float(said[f'mitrad_sweep_duration_seconds{{sweep="{name}"}}']) for name in PASSES}


def _slowest(client):
    """(milliseconds, command) of the longest since the log was reset; None: none was worth a line."""
    entries = [entry for entry in client.slowlog_get(10_000) if not entry["command"].startswith(b"SLOWLOG")]  # ours
    if not entries:
        return None
    longest = max(entries, key=lambda entry: entry["duration"])
    return longest["duration"] / 1000, str(longest["command"])[:60]


def _passes(cores, stores, front, behind, heartbeat, size):
    """Lets all passes run once under load; what they cost, by name, and what the calm was like."""
    sweeper = behind.sweeper()
    trace = Trace(sweeper)
    seeded_peak = machine.peak_kib(sweeper)
    machine.forget_peak(sweeper)
    with stores.valkey.client() as client:
        client.config_set("slowlog-log-slower-than", SLOW_COMMAND_US)
        client.config_set("slowlog-max-len", 10_000)
        client.slowlog_reset()
        samples = os.path.join(scratch.root(), "samples")
        beats = load.start(
            cores,
            port=front.port(heartbeat),
            requests=heartbeat.requests,
            connections=500,
            rate=RATE,
            seconds=120,
            samples=samples,
        )
        try:
            began = time.monotonic()
            calm = _calm_seconds(size)
            trace.record(calm + 3)
            while not trace.quiet() and time.monotonic() < began + 110:
                trace.record(0.5)
        finally:
            beats.kill()
            beats.wait()
        slowest = _slowest(client)
    latencies = _latencies(samples)
    durations = _durations(behind)
    found = {"seed_peak_mib": seeded_peak / 1024, "peak_mib": machine.peak_kib(sweeper) / 1024, "slowest": slowest}
    found["calm_p99_ms"] = _p99_ms(latencies, began + 0.5, began + calm - 1.5)
    # The sweeper's clock began a moment before ours, and its passes are due a second after each other.
    due = began + calm - 1.2
    for name in PASSES:
        begin = trace.active_from(due) or due
        end = begin + durations[name]
        found[name] = {
            "seconds": durations[name],
            "cpu_seconds": trace.used(begin - SAMPLE_SECONDS, end + 2 * SAMPLE_SECONDS),
            "heartbeat_p99_ms": _p99_ms(latencies, begin, end) if durations[name] >= 0.1 else None,
        }
        due = max(begin + 0.9, end + 0.03)
    return found


def _beacon_ms(stores, front):
    """The beacon when nobody has its answer any more: the recompute."""
    took = []
    with stores.valkey.client() as client:
        for _ in range(5):
            client.delete("availability:snapshot")
            began = time.perf_counter()
            front.mitrad.get("/public/bestie-availability")
            took.append(1000 * (time.perf_counter() - began))
    return statistics.median(took)


def _blast(cores, stores, behind, name, request, seconds):
    kind = work.Work(name, name, load.prepare(name, [request]), internal=True)
    with stores.valkey.client() as client:
        client.slowlog_reset()
        done = load.run(
            cores,
            port=behind.port(kind),
            requests=kind.requests,
            connections=1,
            seconds=seconds,
            meters=behind.meters(),
        )
        slowest = _slowest(client)
    return {
        "p50_ms": done["p50_us"] / 1000,
        "p99_ms": done["p99_us"] / 1000,
        "cpu_ms": done["cpu_us"]["worker"] / 1000,
        "valkey_cpu_ms": done["cpu_us"]["valkey"] / 1000,
        "slowest": slowest,
    }


def _one_size(cores, stores, database, size, seconds):
    beating = min(size, BEATING)
    heartbeat = work.Work("beats", "", load.prepare(f"beats-{size}", work.heartbeats(beating)))
    with stores.valkey.client() as client:
        client.flushall()
    began = time.monotonic()
    front, behind = _start(stores, cores, database, size)
    try:
        ready = time.monotonic() - began
        found = {"online": size, "start_seconds": ready, **_passes(cores, stores, front, behind, heartbeat, size)}
        found["blast"] = _blast(cores, stores, behind, f"blast-{BLAST_LIMIT}", work.blast(BLAST_LIMIT), seconds)
        found["beacon_ms"] = _beacon_ms(stores, front)
        found["valkey_mib"] = machine.memory_kib(stores.valkey.pid) / 1024
        return found
    finally:
        behind.stop()
        front.stop()


def measure(clock, cores, stores, sizes, seconds):
    """One entry for each size that there was time for."""
    database = stores.database()
    found, filled = [], 0
    for size in sizes:
        # What is known of machines like this one: a million mitras take half a minute to fill in, and one to go through.
        if not clock.allows(15 + size / 8000):
            break
        people.fill_truth(database, filled, size, size)
        filled = size
        clock.tell(f"{size:9,} mitras are in PostgreSQL")
        one = _one_size(cores, stores, database, size, seconds)
        found.append(one)
        for name in PASSES:
            took = one[name]
            clock.tell(f"{size:9,} online  {name:16} {took['seconds']:7.3f} s, {took['cpu_seconds']:7.3f} s of CPU")
        clock.tell(f"{size:9,} online  blast read {one['blast']['p50_ms']:.2f} ms, beacon {one['beacon_ms']:.2f} ms")
    return found
