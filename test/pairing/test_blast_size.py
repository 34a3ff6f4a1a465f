"""
A blast to very many: one round trip to PostgreSQL, one pipeline to Valkey.  Prints what it took (pytest -s);
docs/performance.md has the numbers.  PAIRING_BLAST sets the size.
"""

import contextlib
import os
import time

import pytest

from harness import process

SIZE = int(os.environ.get("PAIRING_BLAST", "10000"))


def cpu_seconds(*servers):
    return [cpu_seconds_of_one(server) for server in servers]


def cpu_seconds_of_one(server):
    """With its children; those of PostgreSQL's that come and go do not count."""
    used = 0
    for pid in [server.pid, *process.descendants(server.pid)]:
        with contextlib.suppress(FileNotFoundError):
            used += process.cpu_seconds(pid)
    return used


@pytest.mark.deadline(300)
def test_a_blast_reaches_everybody_available_in_one_statement(calm, database, postgres, valkey, nothing_impossible):
    # What a connection does for the first time is no part of the measurement.
    for _ in range(4):
        calm.of_customer(calm.search(), "cancel")
    mitras = calm.crowd(SIZE)
    servers = (calm.instances[0], postgres, valkey)
    with database.statements() as ran:
        before, began = cpu_seconds(*servers), time.monotonic()
        session = calm.search()
        took, after = time.monotonic() - began, cpu_seconds(*servers)
    assert ran.for_requests == ran.matching("mitrad.session_create") == 1, ran.calls
    reached = "SELECT count(*) FROM chat_request_notifications WHERE session_id = %s AND status = 'sent'"
    assert database.value(reached, session["id"]) == SIZE
    told = "SELECT count(DISTINCT user_id) FROM user_events WHERE session_id = %s AND type = 'request_offered'"
    assert database.value(told, session["id"]) == SIZE

    began = time.monotonic()
    assert calm.accept(mitras[0], session).status == 200
    accepting = time.monotonic() - began
    used = ", ".join(f"{name} {end - start:.2f} s" for name, start, end in
        zip(("mitrad", "PostgreSQL", "Valkey"), before, after))
    print(f"\nblast to {SIZE}: {took * 1000:.0f} ms, CPU {used}; its accept: {accepting * 1000:.0f} ms")
    assert took < 10 and accepting < 10
    nothing_impossible()
