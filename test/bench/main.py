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
from bench import candidates, closed, machine, report, work  # noqa: E402

RESULTS = os.path.join(program.REPOSITORY, "bench-results")


class Clock:
    """The time that the benchmark may take.  What does not fit in any more is left out, and that is said."""

    def __init__(self, seconds):
        self.began = time.monotonic()
        self.ends = self.began + seconds
        self.skipped = False

    def allows(self, seconds):
        if time.monotonic() + seconds <= self.ends:
            return True
        self.skipped = True
        return False

    def tell(self, text):
        print(f"    {time.monotonic() - self.began:5.0f} s  {text}", flush=True)


def stage(text):
    print(f"==> {text}", flush=True)


def ended(number, frame):
    """TERM ends us as Ctrl-C does: everything that runs is stopped on the way out."""
    raise KeyboardInterrupt


def measure(clock, quick):
    cores = machine.Cores()
    machine.allow_connections(12000)
    left_out = []
    stage(f"starting the servers: {cores.describe()}")
    stores = candidates.Stores(cores)
    try:
        running = candidates.all_of(stores, cores, left_out)
        try:
            works = work.standard()
            stage("warming up")
            closed.warm_up(clock, cores, running, works, seconds=1 if quick else 2)
            stage("as fast as each can")
            results = closed.measure(
                clock, cores, running, works, work.CONNECTIONS, rounds=1 if quick else 3, seconds=1 if quick else 2
            )
        finally:
            candidates.stop_all(running)
    finally:
        stores.stop()
    titles = {one.name: (one.title, one.constant) for one in running}
    summary = report.closed_summary(results)
    return {
        "machine": machine.facts(),
        "placement": cores.describe(),
        "left_out": left_out,
        "closed": summary,
        "tables": {
            f"closed-{count}": report.closed_table(summary, titles, works, count) for count in work.CONNECTIONS
        },
    }


def main():
    parser = argparse.ArgumentParser(prog="test/bench/run", description="Measures mitrad against its peers.")
    parser.add_argument("--quick", action="store_true", help="two minutes instead of ten, and rougher")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, ended)
    document = measure(Clock(120 if arguments.quick else 600), arguments.quick)
    os.makedirs(RESULTS, exist_ok=True)
    report.write_json(os.path.join(RESULTS, "results.json"), document)
    for name, text in document["tables"].items():
        print(f"\n{text}")


if __name__ == "__main__":
    main()
