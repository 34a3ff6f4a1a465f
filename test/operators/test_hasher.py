"""Passwords are checked beside the event loop: nobody waits for them but who signs in."""

import contextlib
import http.client
import os
import resource
import signal
import threading
import time

import pytest

from harness import program
from harness.api import problem_of
from harness.mitrad import CALM

LOGIN = "/internal/auth/login"
EMAIL, PASSWORD = "slow@example.com", "a slow password of the suite"
PLACES = 8


@pytest.fixture(scope="module")
def slow(database):
    """An operator whose password is stored as the program stores it."""
    settings = {"DATABASE_URL": database.url, "ADMIN_EMAIL": EMAIL, "ADMIN_PASSWORD": PASSWORD}
    program.run("migrate", settings=settings, check=True)


@pytest.fixture
def patient(database):
    """Nobody is locked out; nobody has failed yet."""
    database.execute("UPDATE app_config SET value = '100' WHERE key = 'login_attempts_max'")
    yield
    database.execute("UPDATE app_config SET value = '5' WHERE key = 'login_attempts_max'")
    database.execute("UPDATE control_center_users SET failed_login_count = 0")


@pytest.fixture
def one_worker(mitrad_factory, slow, patient):
    # On a busy machine the passwords that a stop finds under way take longer than the usual grace.
    return mitrad_factory(arrangement=CALM, WORKERS=1, SHUTDOWN_GRACE_SECONDS=25)


def login(mitrad, password=PASSWORD, email=EMAIL):
    return mitrad.internal.post(LOGIN, json={"email": email, "password": password}, timeout=120)


def in_background(count, call):
    """Starts `call` so often; (threads, answers so far).  One that ends by an error of the connection answers None."""
    answers = []

    def run():
        try:
            answers.append(call())
        except (OSError, http.client.HTTPException):
            answers.append(None)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def failures(database):
    return database.value("SELECT failed_login_count FROM control_center_users WHERE email = %s", EMAIL)


def test_who_finds_no_place_is_told_to_come_again_and_has_not_failed(one_worker, database):
    assert login(one_worker).status == 200
    threads, answers = in_background(4 * PLACES, lambda: login(one_worker, "a guess"))
    for thread in threads:
        thread.join(120)
    refused = [answer for answer in answers if answer.code == "RATE_LIMITED"]
    checked = [answer for answer in answers if answer.code == "BAD_CREDENTIALS"]
    assert len(refused) + len(checked) == 4 * PLACES
    assert refused and len(checked) >= PLACES
    assert problem_of(refused[0], 429, "RATE_LIMITED")["retry_after_seconds"] >= 1
    assert failures(database) == len(checked)
    # The places are free again.
    assert login(one_worker).status == 200
    assert failures(database) == 0


# AddressSanitizer ends the process where malloc() gives NULL, unless it is told otherwise; then it says so, which is no report.
WITHOUT_MEMORY = {"ASAN_OPTIONS": "allocator_may_return_null=1:exitcode=99"}


@contextlib.contextmanager
def no_memory_for_passwords(pid):
    """The process may have half of what a hash takes, over what it has."""
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        has = next(int(line.split()[1]) for line in status if line.startswith("VmSize")) * 1024
    before = resource.prlimit(pid, resource.RLIMIT_AS)
    resource.prlimit(pid, resource.RLIMIT_AS, (has + 64 * 1024 * 1024, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_AS, before)


def test_a_password_that_cannot_be_checked_for_lack_of_memory_is_not_called_wrong(mitrad_factory, slow, patient, database):
    """And whoever tries again until there is memory is not locked out."""
    mitrad = mitrad_factory(arrangement=CALM, WORKERS=1, **WITHOUT_MEMORY)
    database.execute("UPDATE app_config SET value = '2' WHERE key = 'login_attempts_max'")
    assert login(mitrad).status == 200
    with no_memory_for_passwords(*mitrad.children()["worker"]):
        for email in (EMAIL, "nobody@example.com"):
            for _ in range(4):
                problem_of(login(mitrad, email=email), 503, "OVERLOADED")
    assert failures(database) == 0
    assert login(mitrad).status == 200
    for _ in range(2):
        problem_of(login(mitrad, email="nobody@example.com"), 401, "BAD_CREDENTIALS")


def percentile(times, percent):
    return sorted(times)[len(times) * percent // 100]


def beats(mitrad, token, enough):
    """The times that heartbeats on one connection take, until there are enough."""
    connection = http.client.HTTPConnection("127.0.0.1", mitrad.public.port, timeout=60)
    times = []
    while not enough(times):
        began = time.monotonic()
        connection.request("POST", "/api/mitra/status/heartbeat", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b'{"online":true}')
        times.append(time.monotonic() - began)
    connection.close()
    return times


def test_heartbeats_do_not_wait_for_passwords(one_worker, online_mitra):
    """
    In the one worker that does both.  Were they checked on its event loop, a heartbeat in each hash would take as long
    as the hash; the bound is far from both.
    """
    mitra = online_mitra(one_worker)
    began = time.monotonic()
    assert login(one_worker).status == 200
    hash_seconds = time.monotonic() - began
    before = beats(one_worker, mitra.token, lambda times: len(times) == 500)
    threads, answers = in_background(PLACES - 1, lambda: login(one_worker))
    during = beats(one_worker, mitra.token, lambda _: not any(thread.is_alive() for thread in threads))
    assert [answer.status for answer in answers] == [200] * (PLACES - 1)
    assert len(during) >= 100
    bound = max(20 * percentile(before, 99), hash_seconds / 4)
    assert percentile(during, 99) < bound, (percentile(before, 99), percentile(during, 99), hash_seconds)


def threads_of(pid):
    return sorted(int(task) for task in os.listdir(f"/proc/{pid}/task"))


def blocked_signals(pid, thread):
    with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as status:
        return int(next(line for line in status if line.startswith("SigBlk")).split()[1], 16)


def test_the_thread_comes_with_the_first_password_and_takes_no_signals(one_worker):
    (worker,) = one_worker.children()["worker"]
    assert threads_of(worker) == [worker]
    assert login(one_worker).status == 200
    (main, other) = threads_of(worker)
    assert main == worker
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGCHLD, signal.SIGPIPE):
        assert blocked_signals(worker, other) & 1 << (number - 1)
        assert not blocked_signals(worker, main) & 1 << (number - 1)
    assert one_worker.get("/livez").status == 200


def test_a_graceful_stop_answers_who_signs_in(one_worker, database, until):
    threads, answers = in_background(3, lambda: login(one_worker))
    # Each is counted as a failure until its password was checked.
    until(lambda: failures(database) + len(answers) >= 3, what="three sign-ins under way")
    one_worker.stop()
    for thread in threads:
        thread.join(60)
    assert [answer.status for answer in answers] == [200] * 3


def test_a_stop_does_not_wait_for_passwords_beyond_its_grace(mitrad_factory, slow, patient, database, until):
    mitrad = mitrad_factory(arrangement=CALM, WORKERS=1, SHUTDOWN_GRACE_SECONDS=1)
    threads, answers = in_background(PLACES, lambda: login(mitrad, "a guess"))
    until(lambda: failures(database) == PLACES, what="all places to be taken")
    began = time.monotonic()
    mitrad.stop()
    assert time.monotonic() - began < 10
    for thread in threads:
        thread.join(60)
    assert len(answers) == PLACES
    assert {answer.code for answer in answers if answer is not None} <= {"BAD_CREDENTIALS", "OVERLOADED"}
