"""
What is measured, and in which order.  test/bench/run starts this when everything is installed and built.
"""

import argparse
import os
import signal
import sys
import time

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from harness import program  # noqa: E402  (the path comes first)
from bench import candidates, closed, idle, machine, opened, plot, publish, report, sweeps, work  # noqa: E402

PARTS = ("closed", "opened", "idle", "sweeps")
RESULTS = os.path.join(program.REPOSITORY, "bench-results")


class Clock:
    """The time that the benchmark may take.  What does not fit in any more is left out, and that is said."""

    def __init__(self, seconds):
        self.began = time.monotonic()
        self.seconds = seconds
        self.stage_ends = self.began + seconds
        self.cut_short = []
        self._stage = ""

    def stage(self, text, share=1.0):
        """A stage that may take until this share of the time is over."""
        self._stage = text
        self.stage_ends = self.began + share * self.seconds
        print(f"==> {text}", flush=True)

    def allows(self, seconds):
        if time.monotonic() + seconds <= self.stage_ends:
            return True
        if self._stage not in self.cut_short:
            self.cut_short.append(self._stage)
        return False

    def tell(self, text):
        print(f"    {time.monotonic() - self.began:5.0f} s  {text}", flush=True)


def ended(number, frame):
    """TERM ends us as Ctrl-C does: everything that runs is stopped on the way out."""
    raise KeyboardInterrupt


def measure_servers(clock, cores, stores, quick, parts):
    """All candidates against each other."""
    clock.stage("starting the candidates", share=0.2)
    left_out = []
    among = candidates.all_of(stores, cores, left_out)
    works = work.standard()
    many = machine.allow_connections(idle.MANY)
    closed_results, opened_results, memory = {}, {}, []
    with candidates.running(among if parts & {"closed", "opened"} else []):
        if "closed" in parts:
            clock.stage("warming up", share=0.2)
            closed.warm_up(clock, cores, among, works, seconds=1 if quick else 2)
            clock.stage("as fast as each can", share=0.5)
            closed_results = closed.measure(
                clock, cores, among, works, work.CONNECTIONS, rounds=1 if quick else 3, seconds=1 if quick else 1.5
            )
        summary = report.closed_summary(closed_results)
        if "opened" in parts:
            clock.stage("heartbeats at a given rate", share=0.65)
            opened_results = opened.measure(
                clock, cores, among, works[0], summary, rounds=1 if quick else 2, seconds=2 if quick else 4
            )
    if "idle" in parts:
        clock.stage("idle connections", share=0.7)
        some = [candidate for candidate in among if candidate.name in ("mitrad", "peer", "evhttp")]
        with candidates.running(some):
            memory = idle.measure(clock, cores, some, works[0], many)
    return {
        "left_out": left_out,
        "titles": {one.name: one.title for one in among},
        "works": {one.name: one.title for one in works},
        "closed": summary,
        "opened": report.opened_summary(opened_results),
        "idle": memory,
    }


def measure(clock, quick, parts):
    cores = machine.Cores()
    clock.stage(f"starting: {cores.describe()}")
    document = {
        "machine": machine.facts(),
        "placement": cores.describe(),
        "quick": quick,
        "versions": candidates.versions(),
        "sweeps": [],
    }
    stores = candidates.Stores(cores)
    try:
        document.update(measure_servers(clock, cores, stores, quick, parts))
        if "sweeps" in parts:
            clock.stage("how it grows")
            sizes = sweeps.SIZES[:2] if quick else sweeps.SIZES
            document["sweeps"] = sweeps.measure(clock, cores, stores, sizes, seconds=1 if quick else 2)
    finally:
        stores.stop()
    document["cut_short"] = clock.cut_short
    return document


def main():
    parser = argparse.ArgumentParser(prog="test/bench/run", description="Measures mitrad against its peers.")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of ten, and rougher")
    parser.add_argument("--minutes", type=float, help="how long it may take: with 20 it also goes through a million mitras")
    parser.add_argument("--publish", action="store_true", help="put the tables and plots into README.md and docs/, too")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this part; may be given again")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, ended)
    parts = set(arguments.part or PARTS)
    minutes = arguments.minutes or (2 if arguments.quick else 10)
    document = measure(Clock(60 * minutes), arguments.quick, parts)
    document["tables"] = report.tables(document)
    os.makedirs(RESULTS, exist_ok=True)
    report.write(RESULTS, document)
    plot.write(RESULTS, document)
    if arguments.publish:
        publish.publish(program.REPOSITORY, RESULTS, document["tables"])
    with open(os.path.join(RESULTS, "results.md"), encoding="utf-8") as text:
        print("\n" + text.read())


if __name__ == "__main__":
    main()
