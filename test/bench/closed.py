"""
As fast as each candidate can: a closed loop of 64 and of 2,000 connections, and the CPU time that one request costs the server.

All candidates run all the time and idle while another is measured.  Rounds go through all of them, each round in another
order, so that a machine that slows down for a while does so for everybody.
"""

from . import load


def cells(candidates, works, connections):
    """What there is to measure.  A constant answers everything alike: it is asked for heartbeats."""
    return [
        (kind, count, candidate)
        for count in connections
        for kind in works
        for candidate in candidates
        if kind.name == "heartbeat" or not candidate.constant
    ]


def warm_up(clock, cores, candidates, works, seconds):
    """Once through everything, unmeasured: what is compiled while it runs needs some thousand requests for that."""
    for kind, count, candidate in cells(candidates, works, (64,)):
        if not candidate.constant and clock.allows(seconds + 1):
            load.run(cores, port=candidate.port(kind), requests=kind.requests, cycle=kind.cycle, connections=count, seconds=seconds)


def measure(clock, cores, candidates, works, connections, rounds, seconds):
    """{(work, connections, candidate): [result of each round]}, by names.  What stalls is measured once."""
    results = {}
    stalled = set()
    todo = cells(candidates, works, connections)
    for number in range(rounds):
        turned = todo[number:] + todo[:number]
        for kind, count, candidate in turned:
            if not clock.allows(seconds + 1):
                return results
            if (kind.name, count, candidate.name) in stalled:
                continue
            done = load.run(
                cores,
                port=candidate.port(kind),
                requests=kind.requests,
                cycle=kind.cycle,
                connections=count,
                warmup=0.5,
                seconds=seconds,
                meters=candidate.meters(),
            )
            results.setdefault((kind.name, count, candidate.name), []).append(done)
            if done["seconds"] > 2 * seconds:
                stalled.add((kind.name, count, candidate.name))
            clock.tell(
                f"{kind.name:9} {count:5} connections  {candidate.name:10} {done['cpu_us']['worker']:8.1f} µs of CPU"
                f"  {done['rate']:8.0f}/s" + (f"  {done['refused_share']:.0%} refused" if done["refused"] else "")
            )
    return results
