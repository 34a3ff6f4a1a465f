"""A stop while a server is silent: who waits for it gets an answer before the process ends."""

import re
import signal
import threading

from harness import tokens
from harness.mitrad import CALM
from harness.wait import wait_until


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
    mitrad.wait_log(lambda line: "worker-1" in line["message"] and "in flight" in line["message"], after=before)
    said = [line["message"] for line in mitrad.log_lines()[before:]]
    return sum(int(number) for number in re.findall(r"(\d+) requests in flight", " ".join(said)))


def test_who_waits_for_a_silent_valkey_is_answered_before_the_grace_is_over(
    valkey, proxy_factory, mitrad_factory, make_mitra
):
    proxy = proxy_factory(valkey)
    mitrad = mitrad_factory(
        arrangement=CALM, VALKEY_URL=valkey.url_through(proxy), VALKEY_TIMEOUT_MS=60000, SHUTDOWN_GRACE_SECONDS=8
    )
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
    ended = [message for message in mitrad.messages("worker-") if "(pid " in message]
    assert len(ended) == 2 and all(message.endswith("exited with 0") for message in ended)
