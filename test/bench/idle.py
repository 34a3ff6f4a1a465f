"""What an idle connection costs: the worker's memory with 64 and with ten thousand of them, each having been answered once."""

from . import load, machine

FEW = 64
MANY = 10000


def _held(cores, candidate, kind, count, look):
    """What `look` sees while so many connections are held."""
    process = load.start(cores, port=candidate.port(kind), requests=kind.requests, connections=count, idle=True)
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{candidate.name} does not hold {count} connections")
        return look()
    finally:
        process.communicate(timeout=60)


def measure(clock, cores, candidates, kind, many):
    """One entry for each candidate.  These servers are fresh: what an earlier load has left behind would hide the difference."""
    found = []
    for candidate in candidates:
        if not clock.allows(10):
            break

        def resident(candidate=candidate):
            return sum(machine.memory_kib(pid) for pid in candidate.workers())

        few = _held(cores, candidate, kind, FEW, resident)
        more = _held(cores, candidate, kind, many, resident)
        each = (more - few) / (many - FEW)
        found.append(
            {"candidate": candidate.name, "few_kib": few, "many": many, "many_kib": more, "each_kib": each}
        )
        clock.tell(f"{candidate.name:10} {few / 1024:6.1f} MiB with {FEW} connections, {each:.2f} KiB for each of {many}")
    return found
