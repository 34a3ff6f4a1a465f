"""HUP takes up a new configuration and a new program with the same pid; what does not work leaves everything as it is."""

import os
import signal
import socket

import pytest

from harness import ports, process, tokens
from harness.api import Api
from harness.wait import holds_for, wait_until

BROKEN_PROGRAMS = {
    "garbage": "no program\n",
    "a script that fails": "#!/bin/sh\necho cannot find libevent >&2\nexit 127\n",
    "a script that says nothing": "#!/bin/sh\nexit 0\n",
    "a program that crashes": "#!/bin/sh\nkill -SEGV $$\n",
}


def inode(pid):
    return os.stat(f"/proc/{pid}/exe").st_ino


def test_a_changed_file_is_taken_up_with_the_same_pid(reloadable):
    server = reloadable()
    pid, before = server.pid, server.children()
    server.configure(WORKERS=3)

    server.reload_well()

    server.wait_children(3)
    assert server.instance.running() and server.pid == pid
    assert not before & server.children()
    assert server.instance.get("/readyz").status == 200


def test_a_changed_secret_file_is_taken_up(reloadable, make_mitra, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(tokens.SECRET + "\n")
    server = reloadable(AUTH_JWT_SECRET_PREVIOUS_FILE=secret)
    token = tokens.mint("mitra", make_mitra().id, secret=tokens.OTHER_SECRET)
    assert server.instance.get("/api/mitra/status", token=token).status == 401

    secret.write_text(tokens.OTHER_SECRET + "\n")
    server.reload_well()

    server.wait_children(2)
    assert server.instance.get("/api/mitra/status", token=token).status == 200


def test_a_replaced_program_is_taken_up_with_the_same_pid(reloadable):
    server = reloadable()
    pid = server.pid
    server.install(f"/proc/{pid}/exe")
    new = os.stat(server.program).st_ino
    assert inode(pid) != new

    server.reload_well()

    server.wait_children(2)
    assert server.pid == pid
    assert {inode(each) for each in [pid, *server.children()]} == {new}


def test_a_faulty_file_changes_nothing_and_every_fault_is_named(reloadable):
    server = reloadable()
    before = server.children()
    server.write("WORKERS=two\nVALKEY_TIMEOUT=250\n")

    line = server.reload()

    assert line["severity"] == "ERROR"
    assert "WORKERS" in line["message"] and "VALKEY_TIMEOUT_MS" in line["message"]
    assert server.children() == before
    assert server.instance.get("/readyz").status == 200


@pytest.mark.parametrize("text", BROKEN_PROGRAMS.values(), ids=BROKEN_PROGRAMS.keys())
def test_a_broken_program_changes_nothing(reloadable, text):
    server = reloadable()
    before, old = server.children(), inode(server.pid)
    server.install_text(text)

    line = server.reload()

    assert line["severity"] == "ERROR" and line["message"].startswith("reload refused")
    assert server.children() == before and inode(server.pid) == old
    assert server.instance.get("/readyz").status == 200


def test_a_program_that_is_gone_changes_nothing(reloadable):
    server = reloadable()
    before = server.children()
    os.remove(server.program)

    assert server.reload()["severity"] == "ERROR"

    assert server.children() == before
    assert server.instance.get("/readyz").status == 200


def nowhere():
    """The URL of a database that nobody serves."""
    return f"postgresql://nobody@127.0.0.1:{ports.free_port()}/none"


def test_a_generation_that_does_not_get_ready_leaves_the_old_one_and_the_old_program(reloadable, database):
    server = reloadable(DATABASE_URL=database.url)
    before, old = server.children(), inode(server.pid)
    server.install(f"/proc/{server.pid}/exe")
    server.configure(DATABASE_URL=nowhere(), STARTUP_TIMEOUT_SECONDS=2, WORKERS=4)

    line = server.reload()

    assert line["severity"] == "ERROR" and line["message"].startswith("reload failed, generation 1 goes on")
    wait_until(lambda: server.children() == before, what="the new generation to be gone")
    wait_until(lambda: inode(server.pid) == old, what="the old program to be back")
    assert server.instance.get("/readyz").json["postgres"] == "up"


def test_a_program_that_needs_a_newer_schema_leaves_everything_as_it_is(reloadable, database):
    server = reloadable()
    before = server.children()
    database.execute("comment on schema mitrad is 'version 1, functions of-long-ago'")

    line = server.reload()

    assert line["severity"] == "ERROR" and "run `mitrad migrate`" in line["message"]
    wait_until(lambda: server.children() == before, what="the new generation to be gone")
    assert server.instance.get("/readyz").json["postgres"] == "up"


def test_after_a_failed_reload_children_are_replaced_with_the_old_settings(reloadable, database):
    server = reloadable(DATABASE_URL=database.url)
    server.configure(DATABASE_URL=nowhere(), STARTUP_TIMEOUT_SECONDS=1, WORKERS=4)
    server.reload()
    server.wait_children(2)

    for victim in server.instance.children()["worker"]:
        process.send(victim, signal.SIGKILL)
    wait_until(lambda: server.instance.get("/readyz").json["postgres"] == "up", what="successors that serve")
    server.wait_children(2)


def test_a_child_that_dies_during_a_reload_is_replaced_with_the_settings_it_had(reloadable, database):
    server = reloadable(DATABASE_URL=database.url)
    before = set(server.instance.children()["worker"])
    server.configure(DATABASE_URL=nowhere(), STARTUP_TIMEOUT_SECONDS=60)
    server.hup()
    wait_until(lambda: len(server.instance.children()["sweeper"]) == 2, what="the new generation to begin")

    for victim in before:
        process.send(victim, signal.SIGKILL)

    wait_until(lambda: len(set(server.instance.children()["worker"]) - before) == 2, what="the successors")
    wait_until(lambda: server.instance.get("/readyz").json["postgres"] == "up", what="successors that serve")


def test_a_failed_reload_can_be_followed_by_a_good_one(reloadable, database):
    server = reloadable(DATABASE_URL=database.url)
    server.configure(DATABASE_URL=nowhere(), STARTUP_TIMEOUT_SECONDS=1)
    assert server.reload()["severity"] == "ERROR"
    server.wait_children(2)
    server.configure(DATABASE_URL=database.url, STARTUP_TIMEOUT_SECONDS=60, WORKERS=3)

    server.reload_well()

    server.wait_children(3)


def test_a_hup_during_a_reload_is_remembered(reloadable, database):
    server = reloadable(DATABASE_URL=database.url)
    server.configure(DATABASE_URL=nowhere(), STARTUP_TIMEOUT_SECONDS=10)
    server.hup()
    wait_until(lambda: len(server.instance.children()["sweeper"]) == 2, what="the new generation to begin")
    server.configure(DATABASE_URL=database.url, STARTUP_TIMEOUT_SECONDS=60, WORKERS=3)
    for _ in range(3):
        server.hup()

    server.instance.wait_log("reload failed, generation 1 goes on")
    server.instance.wait_log("is reloaded")
    server.wait_children(3)
    # Not stacked: three were one.
    holds_for(lambda: len(server.instance.messages("is reloaded")) == 1, 2, "a single reload")


def local(port):
    return f"127.0.0.1:{port}"


def test_a_changed_address_is_served_and_the_old_one_is_not(reloadable):
    first, second = ports.free_port(), ports.free_port()
    server = reloadable(PUBLIC_LISTEN=local(first))
    assert server.instance.get("/livez").status == 200
    server.configure(PUBLIC_LISTEN=local(second))

    server.reload_well()

    assert Api(second).get("/livez").status == 200
    server.wait_children(2)
    with pytest.raises(ConnectionRefusedError):
        Api(first).get("/livez")


def test_an_address_that_others_have_changes_nothing(reloadable):
    server = reloadable(PUBLIC_LISTEN=local(ports.free_port()))
    before = server.children()
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = local(other.getsockname()[1])
        server.configure(PUBLIC_LISTEN=taken)
        line = server.reload()

    assert f"PUBLIC_LISTEN: {taken} is taken by another process" in line["message"]
    assert server.children() == before
    assert server.instance.get("/livez").status == 200


@pytest.mark.parametrize("workers", [1, 4], ids=["fewer", "more"])
def test_another_number_of_workers_strands_no_connection(reloadable, workers):
    server = reloadable(WORKERS=2)
    server.configure(WORKERS=workers)

    server.reload_well()

    server.wait_children(workers)
    # The kernel picks the socket by the client's port, so a socket without a worker would soon be met.
    for _ in range(60):
        assert server.instance.get("/livez").status == 200
