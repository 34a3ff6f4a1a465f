"""Guessing passwords gets nowhere: the count of failures and the lockout (app_config: login_attempts_max, login_lockout_seconds)."""

import collections
import threading
import time
import uuid

import pytest

from harness.api import problem_of
from harness.operators import Browser, Operator

LOGIN = "/internal/auth/login"
MOST = 5


def attempt(mitrad, email, password="a wrong password"):
    """One that is answered by the rule: where there was no place to check a password, again."""
    deadline = time.monotonic() + 60
    while True:
        answer = mitrad.internal.post(LOGIN, json={"email": email, "password": password}, timeout=60)
        if answer.code != "RATE_LIMITED" or time.monotonic() > deadline:
            return answer
        time.sleep(0.02)


def attempts_at_once(mitrad, email, count):
    """{code: number of answers} of so many wrong passwords."""
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(attempt(mitrad, email).code)) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(90)
    assert len(answers) == count
    return collections.Counter(answers)


@pytest.fixture
def account(make_operator):
    """account(known): an address that an operator has, or one that nobody has."""

    def make(known):
        if known:
            return make_operator()
        return Operator(None, f"{uuid.uuid4()}@example.com", "no password", "admin")

    return make


@pytest.mark.parametrize("known", [True, False])
def test_the_attempt_after_the_last_is_locked_out_and_told_for_how_long(mitrad, account, known):
    """A stranger's address is locked out too, or the lockout would tell which one is an operator's."""
    email = account(known).email
    for _ in range(MOST):
        problem_of(attempt(mitrad, email), 401, "BAD_CREDENTIALS")
    for asked in (email, email.upper()):
        document = problem_of(attempt(mitrad, asked), 423, "LOCKED_OUT")
        assert 850 <= document["retry_after_seconds"] <= 900


def test_the_right_password_does_not_open_a_lockout(mitrad, make_operator):
    operator = make_operator()
    for _ in range(MOST):
        attempt(mitrad, operator.email)
    problem_of(attempt(mitrad, operator.email, operator.password), 423, "LOCKED_OUT")


def test_one_operators_lockout_is_nobody_elses(mitrad, make_operator):
    operator, other = make_operator(), make_operator()
    for _ in range(MOST + 1):
        attempt(mitrad, operator.email)
    assert attempt(mitrad, other.email, other.password).status == 200


def test_a_success_begins_a_new_count(mitrad, make_operator):
    operator = make_operator()
    for _ in range(3):
        for _ in range(MOST - 1):
            problem_of(attempt(mitrad, operator.email), 401, "BAD_CREDENTIALS")
        assert attempt(mitrad, operator.email, operator.password).status == 200


@pytest.mark.parametrize("known", [True, False])
def test_a_lockout_ends_by_itself_and_begins_a_new_count(mitrad, account, database, known):
    email = account(known).email
    for _ in range(MOST):
        problem_of(attempt(mitrad, email), 401, "BAD_CREDENTIALS")
    for table in ("control_center_users", "login_strangers"):
        database.execute(f"UPDATE {table} SET lockout_until = lockout_until - interval '840 seconds'")
    document = problem_of(attempt(mitrad, email), 423, "LOCKED_OUT")
    assert document["retry_after_seconds"] <= 60
    for table in ("control_center_users", "login_strangers"):
        database.execute(f"UPDATE {table} SET lockout_until = lockout_until - interval '60 seconds'")
    for _ in range(MOST):
        problem_of(attempt(mitrad, email), 401, "BAD_CREDENTIALS")
    problem_of(attempt(mitrad, email), 423, "LOCKED_OUT")


def test_the_limits_are_the_configurations(mitrad, make_operator, set_config):
    set_config(login_lockout_seconds=7200, login_attempts_max=2)
    operator = make_operator()
    for _ in range(2):
        problem_of(attempt(mitrad, operator.email), 401, "BAD_CREDENTIALS")
    document = problem_of(attempt(mitrad, operator.email), 423, "LOCKED_OUT")
    assert 7100 <= document["retry_after_seconds"] <= 7200


@pytest.mark.parametrize("known", [True, False])
def test_of_fifty_guesses_at_once_no_more_than_five_are_checked(mitrad, account, known):
    codes = attempts_at_once(mitrad, account(known).email, 50)
    assert codes == {"BAD_CREDENTIALS": MOST, "LOCKED_OUT": 50 - MOST}


def test_guesses_of_a_stolen_access_token_at_the_present_password_are_counted_too(mitrad, signed_in):
    operator, browser = signed_in()

    def change(current):
        body = {"current_password": current, "new_password": "another password of mine"}
        path = "/internal/control-center-users/me/password"
        return mitrad.internal.post(path, token=browser.token, json=body)

    for _ in range(MOST):
        problem_of(change("a guess"), 401, "BAD_CREDENTIALS")
    problem_of(change(operator.password), 423, "LOCKED_OUT")
    problem_of(attempt(mitrad, operator.email, operator.password), 423, "LOCKED_OUT")
    # Who is signed in stays so: a lockout is no way to throw somebody out.
    assert browser.refresh().status == 200


def test_a_reset_by_an_admin_ends_a_lockout(mitrad, make_operator, operator_token):
    operator = make_operator("agent")
    for _ in range(MOST + 1):
        attempt(mitrad, operator.email)
    path = f"/internal/control-center-users/{operator.id}/password"
    answer = mitrad.internal.post(path, token=operator_token, json={})
    assert answer.status == 200 and answer.json["locked_until"] is None
    assert Browser(mitrad.internal).login(operator, answer.json["password"]).status == 200


def test_strangers_of_yesterday_are_forgotten(mitrad, database):
    database.execute(
        """INSERT INTO login_strangers (email_hash, failed_login_count, last_at)
           SELECT sha256(convert_to(i::text, 'UTF8')), 1, now() - interval '2 days' FROM generate_series(1, 150) i"""
    )
    old = "SELECT count(*) FROM login_strangers WHERE last_at < now() - interval '1 day'"
    for left in (50, 0):
        attempt(mitrad, f"{uuid.uuid4()}@example.com")
        assert database.value(old) == left


def test_what_was_typed_instead_of_an_address_is_not_stored(mitrad, database):
    attempt(mitrad, "my-secret-password@oops")
    for row in database.rows("SELECT * FROM login_strangers"):
        assert "oops" not in str(bytes(row["email_hash"]))


def test_one_address_may_try_only_so_often_and_that_is_no_failure(mitrad, make_operator, database, set_config, until):
    set_config(rate_login_per_minute=3)
    operator = make_operator()

    def tried(password):
        return mitrad.internal.post(LOGIN, json={"email": operator.email, "password": password})

    # Both workers learn of the limit in a moment, and then it is one for both.
    limited = until(lambda: (answer := tried(operator.password)).code == "RATE_LIMITED" and answer, what="the limit")
    assert problem_of(limited, 429, "RATE_LIMITED")["retry_after_seconds"] >= 1
    assert {"ratelimit", "ratelimit-policy"} <= limited.headers.keys()
    guesses = [tried("a guess").code for _ in range(4)]
    assert set(guesses) <= {"RATE_LIMITED", "BAD_CREDENTIALS"} and "RATE_LIMITED" in guesses
    failed = "SELECT failed_login_count FROM control_center_users WHERE id = %s"
    assert database.value(failed, operator.id) == guesses.count("BAD_CREDENTIALS")
