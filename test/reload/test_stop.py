"""TERM drains, QUIT does not, and nobody outlives the master."""

import signal
import threading
import time

from harness import process
from harness.wait import wait_until


def test_term_answers_what_has_been_asked_and_exits_with_0(mitrad, database, make_mitra, mitra_token):
    mitra = make_mitra()
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(mitrad.post("/api/mitra/status/online", token=mitra_token(mitra.id)))
    )
    with database.holding("LOCK TABLE mitra_online_status IN ACCESS EXCLUSIVE MODE"):
        asking.start()
        wait_until(database.waiting, what="the request to wait for the lock")
        mitrad.signal(signal.SIGTERM)
        mitrad.wait_log("mitrad is stopping")
    asking.join(30)

    assert answers and answers[0].status == 200
    assert answers[0].headers["connection"] == "close"
    assert mitrad.wait_exit() == 0


def test_a_child_that_does_not_drain_is_killed_when_the_grace_is_over(mitrad_factory):
    server = mitrad_factory(SHUTDOWN_GRACE_SECONDS=1)
    family = process.descendants(server.pid)
    process.send(server.children()["worker"][0], signal.SIGSTOP)

    began = time.monotonic()
    server.signal(signal.SIGTERM)

    assert server.wait_exit() == 0
    assert time.monotonic() - began >= 1
    wait_until(lambda: not set(family) & set(process.parents()), what="the children to be gone")


def stopped_worker(mitrad_factory):
    """A server of long patience, one worker of which cannot drain."""
    server = mitrad_factory(SHUTDOWN_GRACE_SECONDS=600)
    process.send(server.children()["worker"][0], signal.SIGSTOP)
    return server


def test_quit_stops_now(mitrad_factory):
    server = stopped_worker(mitrad_factory)
    server.signal(signal.SIGQUIT)
    assert server.wait_exit() == 0


def test_a_second_term_stops_now(mitrad_factory):
    server = stopped_worker(mitrad_factory)
    server.signal(signal.SIGTERM)
    server.wait_log("mitrad is stopping")
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0


def test_interrupt_then_term_still_drains(mitrad_factory):
    """Ctrl-C reaches a whole terminal's processes, and a script that starts us sends TERM on top of it."""
    server = mitrad_factory()
    server.signal(signal.SIGINT)
    server.signal(signal.SIGTERM)
    assert server.wait_exit() == 0
    assert not server.messages("was ended by signal 9")


def test_a_dead_master_leaves_no_orphan_and_its_addresses_free(mitrad_factory):
    first = mitrad_factory()
    first.kill()  # waits for the children to be gone
    second = mitrad_factory(
        PUBLIC_LISTEN=f"127.0.0.1:{first.public.port}", INTERNAL_LISTEN=f"127.0.0.1:{first.internal.port}"
    )
    assert second.get("/readyz").status == 200


def test_a_second_server_on_the_same_address_does_not_start(mitrad_factory):
    first = mitrad_factory()
    second = mitrad_factory(PUBLIC_LISTEN=f"127.0.0.1:{first.public.port}", start=False)
    second.start(ready=False)
    assert second.wait_exit() == 1
    assert f"PUBLIC_LISTEN: 127.0.0.1:{first.public.port} is taken by another process" in second.log_text()
    assert first.get("/readyz").status == 200


def test_a_killed_sweeper_is_replaced(mitrad):
    mitrad.kill_sweeper()


def test_a_worker_that_hangs_is_replaced(mitrad):
    before = mitrad.children()["worker"]
    process.send(before[0], signal.SIGSTOP)
    wait_until(lambda: before[0] not in mitrad.children()["worker"], 60, "the worker that hangs to be gone")
    wait_until(lambda: len(mitrad.children()["worker"]) == len(before), what="its successor")
    assert mitrad.messages("has not ticked for 10 s and is aborted")
