"""A stop while a server is silent: who waits for it gets an answer before the process ends."""

import re
import signal
import threading

import pytest

from harness import tokens
from harness.mitrad import CALM
from harness.wait import holds_for, wait_until


def ask(api, path, answers, method="GET", token=None):
    """The request is on its way; its answer, or what went wrong, will be in `answers`."""

    def run():
        try:
            answers[path] = api.request(method, path, token=token)
        except OSError as error:
            answers[path] = error

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def in_flight(mitrad):
    """How many requests wait in the workers, by what they say of themselves; /metrics would have to wait as well."""
    before = len(mitrad.log_lines())
    mitrad.signal(signal.SIGUSR1)
    mitrad.wait_log(lambda line: line["message"].startswith("worker-1 of generation"), after=before)
    said = [line["message"] for line in mitrad.log_lines()[before:]]
    return sum(int(number) for number in re.findall(r"(\d+) requests in flight", " ".join(said)))


def test_who_waits_for_a_silent_valkey_is_answered_before_the_grace_is_over(
    valkey, proxy_factory, mitrad_factory, make_mitra
):
    proxy = proxy_factory(valkey)
    mitrad = mitrad_factory(
        arrangement=CALM, VALKEY_URL=valkey.url_through(proxy), VALKEY_TIMEOUT_MS=60000, SHUTDOWN_GRACE_SECONDS=20
    )
    mitrad.wait_log(" is ready: ")  # all workers, and not only the one that answered
    mitra, operator = make_mitra(), tokens.mint("operator")
    proxy.black_hole()

    answers = {}
    threads = [
        ask(mitrad, "/api/mitra/status", answers, token=mitra.token),
        ask(mitrad, "/api/mitra/status/online", answers, "POST", mitra.token),
        ask(mitrad.internal, "/internal/dashboard", answers, token=operator),
        ask(mitrad.internal, f"/internal/mitras/{mitra.id}/reachability", answers, token=operator),
        ask(mitrad, "/public/bestie-availability", answers),
    ]
    wait_until(lambda: in_flight(mitrad) == len(threads), what="all to wait")
    mitrad.signal(signal.SIGTERM)
    for thread in threads:
        thread.join()

    assert mitrad.wait_exit() == 0
    assert len(answers) == len(threads)
    for path, answer in answers.items():
        assert getattr(answer, "status", answer) in (200, 503), path
    assert_all_ended_by_themselves(mitrad)


@pytest.mark.parametrize("silent", ["postgresql", "valkey"])
def test_a_sweeper_that_waits_for_a_silent_server_ends_by_itself(
    silent, postgres, database, valkey, proxy_factory, mitrad_factory
):
    """However long it may wait for an answer at other times."""
    settings = {"VALKEY_TIMEOUT_MS": 60000, "DATABASE_TIMEOUT_MS": 60000, "SHUTDOWN_GRACE_SECONDS": 8}
    proxy = proxy_factory({"postgresql": postgres, "valkey": valkey}[silent])
    settings |= {
        "postgresql": {"DATABASE_URL": database.url_through(proxy)},
        "valkey": {"VALKEY_URL": valkey.url_through(proxy)},
    }[silent]
    mitrad = mitrad_factory("--role", "sweeper", arrangement=CALM, **settings)
    proxy.black_hole()
    # It looks at both servers once a second, so that it does not say any more how it is.
    holds_for(mitrad.running, 2, "the sweeper to begin to wait")

    mitrad.signal(signal.SIGTERM)

    assert mitrad.wait_exit() == 0
    assert_all_ended_by_themselves(mitrad)


def assert_all_ended_by_themselves(mitrad):
    ended = [message for message in mitrad.messages("(pid ") if " exited with " in message or " was ended by " in message]
    assert len(ended) >= 2 and all(message.endswith("exited with 0") for message in ended), ended
