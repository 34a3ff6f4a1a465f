"""Who may call what on the internal listener: every row of routes.def, so that no new one is forgotten."""

import re

import pytest

from harness import tokens
from harness.api import problem_of
from harness.sources import read

NOBODY = "11111111-2222-4333-8444-555555555555"
# All of /internal/ but login, refresh, and the test routes needs an operator's token.
# An answer without an end; test/events reads it with an operator's token.
ENDLESS = {"/internal/dashboard/stream"}
WITHOUT_TOKEN = {("POST", "/internal/auth/login"), ("POST", "/internal/auth/refresh")}


def routes():
    """(method, path, caller) of each route that the internal listener alone serves."""
    rows = re.findall(r'^ROUTE\((\w+), "([^"]+)", \w+, (\w+), (\w+), \w+\)', read("server/routes.def"), re.MULTILINE)
    assert len(rows) == read("server/routes.def").count("\nROUTE(")
    return [(method, path, caller) for method, path, listener, caller in rows if listener == "INTERNAL"]


def guarded():
    return [(method, path) for method, path, caller in routes() if caller in ("OPERATOR", "ADMIN")]


def ask(mitrad, method, path, token):
    """With a body that changes nothing, where there must be one."""
    body = None if method == "GET" else {}
    return mitrad.internal.request(method, path.replace("{}", NOBODY), token=token, json=body)


def test_nothing_is_open_but_what_must_be():
    callers = {(method, path): caller for method, path, caller in routes() if path.startswith("/internal/")}
    assert {row for row, caller in callers.items() if caller == "ANYONE"} == WITHOUT_TOKEN
    assert all(path.startswith("/internal/_test/") for (_, path), caller in callers.items() if caller == "TESTER")
    assert set(callers.values()) <= {"ANYONE", "TESTER", "OPERATOR", "ADMIN"}


def test_operators_and_configuration_are_for_admins():
    """Everybody changes his own password, and everybody may read the configuration."""
    for method, path, caller in routes():
        if path.startswith(("/internal/control-center-users", "/internal/config", "/internal/audit")):
            own = path.endswith("/me/password") or (method, path) == ("GET", "/internal/config")
            assert caller == ("OPERATOR" if own else "ADMIN"), (method, path)


@pytest.mark.parametrize("method, path", guarded())
def test_without_an_operators_token_nothing_is_done(mitrad, make_mitra, customer_token, method, path):
    problem_of(ask(mitrad, method, path, None), 401, "UNAUTHENTICATED")
    problem_of(ask(mitrad, method, path, tokens.mint("operator", ttl=-10)), 401, "TOKEN_EXPIRED")
    for token in (make_mitra().token, customer_token(), tokens.mint("customer", role="admin")):
        problem_of(ask(mitrad, method, path, token), 403, "WRONG_USER_TYPE")


@pytest.mark.parametrize(
    "method, path, caller",
    [row for row in routes() if row[2] in ("OPERATOR", "ADMIN") and row[1] not in ENDLESS],
)
def test_a_route_lets_its_roles_in_and_no_others(mitrad, make_operator, method, path, caller):
    for role in ("agent", "admin"):
        answer = ask(mitrad, method, path, make_operator(role).token)
        if role == "agent" and caller == "ADMIN":
            problem_of(answer, 403, "FORBIDDEN")
        else:
            assert answer.status not in (401, 403, 405), answer


def test_the_operators_routes_are_not_on_the_public_listener(mitrad, operator_token):
    for method, path in (*guarded(), *WITHOUT_TOKEN):
        body = None if method == "GET" else {}
        answer = mitrad.request(method, path.replace("{}", NOBODY), token=operator_token, json=body)
        problem_of(answer, 404, "NOT_FOUND")
