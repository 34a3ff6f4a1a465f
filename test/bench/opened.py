"""
At a given rate: requests come at random moments, as from many apps, whether or not earlier ones were answered.

Production looks like this: 100,000 mitras who beat every 30 seconds are 3,333 heartbeats a second, and a server that is nearly
idle wakes up for each.  A time counts from the moment at which its request was due.
"""

from . import load

CONNECTIONS = 1000
RATES = (3333, 10000)
# Of what the closed loop reached.
SHARE = 0.7


def _run(cores, candidate, kind, rate, seconds):
    return load.run(
        cores,
        port=candidate.port(kind),
        requests=kind.requests,
        connections=CONNECTIONS,
        rate=rate,
        warmup=0.5,
        seconds=seconds,
        meters=candidate.meters(),
    )


def _fastest(summary):
    """{candidate: heartbeats a second in the closed loop of 64 connections}."""
    return {
        cell["candidate"]: cell["rate"] for cell in summary if (cell["work"], cell["connections"]) == ("heartbeat", 64)
    }


def measure(clock, cores, candidates, heartbeat, closed_summary, rounds, seconds):
    """
    {(rate, candidate): [result of each round]}; the rate is "70 %" for that share of what the closed loop reached, which is
    measured of mitrad and of evhttp.  What a candidate could not reach there is not asked of it.
    """
    results = {}
    fastest = _fastest(closed_summary)
    todo = [(rate, rate, candidate) for rate in RATES for candidate in candidates]
    todo += [
        ("70 %", int(SHARE * fastest[candidate.name]), candidate)
        for candidate in candidates
        if candidate.name in ("mitrad", "evhttp") and candidate.name in fastest
    ]
    for _ in range(rounds):
        for label, rate, candidate in todo:
            if rate > fastest.get(candidate.name, rate) or not clock.allows(seconds + 2):
                continue
            done = _run(cores, candidate, heartbeat, rate, seconds)
            results.setdefault((label, candidate.name), []).append(done)
            clock.tell(
                f"{rate:6}/s  {candidate.name:10} {done['cpu_us']['worker']:8.1f} µs of CPU  p99 {done['p99_us'] / 1000:.2f} ms"
            )
    return results
