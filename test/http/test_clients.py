"""Clients that are slow, silent, gone, or too many: none of them holds a worker up."""

import os
import resource
import select
import signal
import time

import pytest

from harness import process
from harness.wait import holds_for, wait_until
from harness.wire import GOOD, Wire, chunked, get, post, problem_of

# Where a request may stop arriving, and the client go away.
CUTS = {
    "before the first byte": b"",
    "in the request line": b"GET /li",
    "in a field": b"GET /livez HTTP/1.1\r\nHo",
    "before the last line": GOOD[:-2],
    "in the body": post(b"Content-Length: 10", body=b"12345"),
    "in a chunk's size": chunked(b"1"),
    "in a chunk": chunked(b"a\r\n12345"),
    "after a request": GOOD,
    "in the second request": GOOD + GOOD[:20],
}



def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def is_sanitized(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:
        return "libasan" in maps.read()


@pytest.fixture
def port(calm_mitrad):
    return calm_mitrad.public.port


def test_clients_that_go_away_in_the_midst_of_something_leave_nothing_behind(calm_mitrad):
    port = calm_mitrad.public.port
    workers = calm_mitrad.children()["worker"]
    before = {pid: descriptors(pid) for pid in workers}
    for _ in range(20):
        for cut in CUTS.values():
            Wire(port).send(cut).reset()
            Wire(port).send(cut).socket.close()
            with Wire(port) as wire:
                wire.send(cut).end()
    wait_until(lambda: all(descriptors(pid) <= before[pid] for pid in workers),
        what="the workers to close what the clients have left")
    assert calm_mitrad.children()["worker"] == workers
    with Wire(port) as wire:
        assert wire.send(GOOD).answer().status == 200


def test_a_client_that_goes_away_before_its_answer_is_there_harms_nobody(calm_mitrad, postgres):
    workers = calm_mitrad.children()["worker"]
    body = b'{"phone":"+6281234567890","display_name":"Gone"}'
    length = b"Content-Length: %d" % len(body)
    line = b"POST /internal/_test/seed-mitra HTTP/1.1"
    request = get(b"Content-Type: application/json", length, line=line) + body
    postgres.pause()
    try:
        stays = Wire(calm_mitrad.internal.port).send(request)
        for _ in range(20):
            Wire(calm_mitrad.internal.port).send(request + GOOD).reset()
            Wire(calm_mitrad.internal.port).send(request).socket.close()
    finally:
        postgres.resume()
    assert stays.answer().status in (200, 201, 503)
    stays.socket.close()
    with Wire(calm_mitrad.internal.port) as wire:
        assert wire.send(GOOD).answer().status == 200
    assert calm_mitrad.children()["worker"] == workers


def test_at_the_end_clients_are_let_go_politely(calm_mitrad):
    idle, busy = Wire(calm_mitrad.public.port), Wire(calm_mitrad.public.port)
    for wire in (idle, busy):
        assert "connection" not in wire.send(GOOD).answer().headers
    # Of the busy one a request has always begun: who is silent for half a second may be let go without a word.
    begun, rest = GOOD[:-2], GOOD[-2:]
    busy.send(begun)
    calm_mitrad.signal(signal.SIGTERM)
    calm_mitrad.wait_log("stopping")
    # Every request is answered, up to the answer that says it is the last.
    wait_until(lambda: busy.send(rest + begun).answer().headers.get("connection") == "close", what="the last answer")
    assert busy.closed()
    assert idle.closed()
    assert calm_mitrad.wait_exit() == 0


def drip(wire, bytes_first, one, seconds):
    """Sends `one` again and again, slowly, until the server has something to say; returns how long that took."""
    began = time.monotonic()
    wire.send(bytes_first)
    while not select.select([wire.socket], [], [], 0.2)[0]:
        assert time.monotonic() - began < seconds, "the server waits too long"
        wire.send(one)
    return time.monotonic() - began


def test_a_head_that_drips_in_is_given_up_after_5_seconds(port):
    with Wire(port) as wire:
        took = drip(wire, b"GET /livez HTTP/1.1\r\nX: ", b"x", 30)
        assert problem_of(wire.answer())["code"] == "REQUEST_TIMEOUT"
        assert wire.closed()
    assert took > 4


def test_a_body_that_drips_in_is_given_up_after_10_seconds(port):
    with Wire(port) as wire:
        took = drip(wire, post(b"Content-Length: 1000"), b"x", 40)
        assert problem_of(wire.answer())["code"] == "REQUEST_TIMEOUT"
        assert wire.closed()
    assert took > 9


def ask_until_stuck(wire, watch):
    """Asks and asks without reading, until no more fits into any buffer between here and there."""
    began = stuck = time.monotonic()
    while time.monotonic() - stuck < 2:
        if watch.poll(100):
            try:
                wire.socket.send(GOOD * 100)
                stuck = time.monotonic()
            except BlockingIOError:
                pass
        assert time.monotonic() - began < 60, "the server reads on and on"
    return stuck


def test_a_client_that_does_not_read_its_answers_is_closed_after_30_seconds(calm_mitrad):
    workers = calm_mitrad.children()["worker"]
    with Wire(calm_mitrad.public.port, small=True) as wire:
        wire.socket.setblocking(False)
        watch = select.poll()
        watch.register(wire.socket, select.POLLOUT)
        stuck = ask_until_stuck(wire, watch)
        wait_until(lambda: any(event & select.POLLHUP for _, event in watch.poll(0)), 60, "the server to close")
        took = time.monotonic() - stuck
    assert calm_mitrad.children()["worker"] == workers
    assert took > 20, calm_mitrad.messages("exited")


def test_idle_connections_are_kept_and_cost_little(mitrad_factory):
    count = min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 500)
    instance = mitrad_factory(WORKERS=1, LOG_LEVEL="warning")
    [worker] = instance.children()["worker"]
    before = resident_bytes(worker)
    wires = [Wire(instance.public.port) for _ in range(count)]
    try:
        for wire in wires[:: count // 100]:
            assert wire.send(GOOD).answer().status == 200
        cost = (resident_bytes(worker) - before) / count
        assert cost < 4096 or is_sanitized(worker), f"{cost:.0f} bytes a connection"
        watch = select.poll()
        for wire in wires:
            watch.register(wire.socket, select.POLLIN)
        assert not watch.poll(0), "some were closed"
    finally:
        for wire in wires:
            wire.socket.close()


def test_a_worker_out_of_descriptors_pauses_and_recovers(mitrad_factory):
    instance = mitrad_factory(WORKERS=1)
    [worker] = instance.children()["worker"]
    used = descriptors(worker)
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 20, used + 20))
    wires = [Wire(instance.public.port) for _ in range(50)]
    try:
        instance.wait_log("no connections can be accepted")
        busy = process.cpu_seconds(worker)
        holds_for(lambda: instance.running(), 2)
        assert process.cpu_seconds(worker) - busy < 0.4
        assert len(instance.messages("no connections can be accepted")) < 5
        # Those who wait in the queue are served as soon as others leave.
        for wire in wires[:40]:
            wire.socket.close()
        assert wires[-1].send(GOOD).answer().status == 200
    finally:
        for wire in wires:
            wire.socket.close()


def test_one_connection_too_many_is_told_to_come_back(mitrad_factory):
    instance = mitrad_factory(WORKERS=1)
    [first] = instance.children()["worker"]
    # A worker takes its limit from the descriptors it may have, and those it has from the master.
    resource.prlimit(instance.pid, resource.RLIMIT_NOFILE, (400, 400))
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: instance.get("/readyz").status == 200 and instance.children()["worker"] != [first],
        what="the worker's successor")
    wires = [Wire(instance.public.port) for _ in range(340)]
    try:
        answer = wires[-1].answer()
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (503, "1", "close")
        problem = problem_of(answer)
        assert (problem["code"], problem["retry_after_seconds"]) == ("OVERLOADED", 1)
        assert wires[-1].closed()
        # Those who came in time are served, and their places are given to others.
        assert wires[0].send(GOOD).answer().status == 200
        for wire in wires[:100]:
            wire.socket.close()
        wait_until(lambda: instance.get("/livez").status == 200, what="a place to become free")
    finally:
        for wire in wires:
            wire.socket.close()
