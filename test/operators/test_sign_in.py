"""Operators sign in, stay signed in by a cookie, and sign out."""

import threading
import uuid

import jwt
import pytest

from harness import program, tokens
from harness.api import fields_of, problem_of
from harness.operators import ORIGIN, Operator, cookie_of
from harness.wait import wait_until

LOGIN = "/internal/auth/login"
REFRESH = "/internal/auth/refresh"
LOGOUT = "/internal/auth/logout"


def at_once(calls):
    """Runs all of them at the same time; their results, in order."""
    results = [None] * len(calls)

    def run(index):
        results[index] = calls[index]()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return results


# Signing in


@pytest.mark.parametrize("role", ["admin", "agent"])
def test_an_operator_signs_in_and_is_known(make_operator, browser, role):
    operator = make_operator(role)
    answer = browser.login(operator)
    assert answer.status == 200, answer
    assert answer.json.keys() == {"access_token", "expires_in", "user"}
    assert answer.json["expires_in"] == 3600
    assert answer.json["user"] == {
        "id": operator.id,
        "user_type": "operator",
        "display_name": operator.email,
        "email": operator.email,
        "role": role,
    }
    claims = jwt.decode(browser.token, tokens.SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["user_type"], claims["role"]) == (operator.id, "operator", role)
    assert claims["exp"] - claims["iat"] == 3600
    me = browser.me()
    assert me.status == 200 and me.json["email"] == operator.email and me.json["role"] == role
    assert me.json.keys() == {"id", "email", "role", "is_active", "locked_until", "created_at"}


def test_the_refresh_token_is_in_a_cookie_that_no_script_and_no_foreign_page_gets(make_operator, browser):
    answer = browser.login(make_operator())
    cookie = cookie_of(answer)
    assert cookie["path"] == "/internal/auth"
    assert cookie["httponly"] and cookie["secure"]
    assert cookie["samesite"] == "Strict"
    assert cookie["max-age"] == str(30 * 86400)
    assert cookie["domain"] == ""
    assert len(cookie.value) == 43
    assert cookie.value not in answer.text


def test_an_address_is_the_same_in_any_case(make_operator, mitrad):
    operator = make_operator(email=f"mixed.{uuid.uuid4()}@example.com")
    body = {"email": operator.email.upper(), "password": operator.password}
    assert mitrad.internal.post(LOGIN, json=body).json["user"]["id"] == operator.id


def test_an_unknown_address_and_a_wrong_password_are_answered_alike(make_operator, mitrad):
    operator = make_operator()
    wrong = mitrad.internal.post(LOGIN, json={"email": operator.email, "password": "not the password"})
    nobody = mitrad.internal.post(
        LOGIN, json={"email": f"{uuid.uuid4()}@example.com", "password": operator.password}
    )
    documents = [problem_of(answer, 401, "BAD_CREDENTIALS") for answer in (wrong, nobody)]
    for document in documents:
        document.pop("request_id")
    assert documents[0] == documents[1]
    assert wrong.headers.keys() == nobody.headers.keys()
    assert "set-cookie" not in wrong.headers


def test_a_wrong_password_takes_as_long_for_an_unknown_address(mitrad, database, set_config, until):
    """Of a password stored as the program stores it; the other tests' are stored cheaply."""
    set_config(login_attempts_max=100)
    program.run(
        "migrate",
        settings={"DATABASE_URL": database.url, "ADMIN_EMAIL": "timed@example.com", "ADMIN_PASSWORD": "timed password 1"},
        check=True,
    )

    def duration_of(email):
        answer = mitrad.internal.post(LOGIN, json={"email": email, "password": "a guess"}, timeout=60)
        problem_of(answer, 401, "BAD_CREDENTIALS")
        asked = answer.headers["x-request-id"]
        line = mitrad.wait_log(lambda line: line.get("request_id") == asked and "duration_us" in line)
        return line["duration_us"]

    # In turn, so that whatever else the machine does hits both alike.
    pairs = [(duration_of("timed@example.com"), duration_of("nobody@example.com")) for _ in range(8)]
    known, unknown = (min(took) for took in zip(*pairs))
    assert 0.5 < known / unknown < 2, pairs


def test_the_first_operator_of_migrate_can_sign_in(mitrad, database, browser):
    settings = {"DATABASE_URL": database.url, "ADMIN_EMAIL": "First@Example.com", "ADMIN_PASSWORD": "the first password"}
    program.run("migrate", settings=settings, check=True)
    answer = browser.login(Operator(None, "first@example.com", "the first password", "admin"))
    assert answer.status == 200 and answer.json["user"]["role"] == "admin"


def test_one_who_was_put_out_of_service_cannot_sign_in(make_operator, browser):
    operator = make_operator(is_active=False)
    problem_of(browser.login(operator), 403, "ACCOUNT_INACTIVE")
    problem_of(browser.login(operator, password="a guess"), 401, "BAD_CREDENTIALS")
    assert browser.cookie is None


@pytest.mark.parametrize(
    "body, fields",
    [
        ({}, ["email", "password"]),
        ({"email": "a@b"}, ["password"]),
        ({"email": "nobody", "password": "x"}, ["email"]),
        ({"email": "a@b@c", "password": "x"}, ["email"]),
        ({"email": "@b", "password": "x"}, ["email"]),
        ({"email": "a@", "password": "x"}, ["email"]),
        ({"email": "a b@c", "password": "x"}, ["email"]),
        ({"email": "ä@b", "password": "x"}, ["email"]),
        ({"email": "a" * 250 + "@b.cd", "password": "x"}, ["email"]),
        ({"email": 1, "password": 1}, ["email", "password"]),
        ({"email": "a@b", "password": ""}, ["password"]),
        ({"email": "a@b", "password": "x" * 257}, ["password"]),
        ({"email": "a@b", "password": "x", "remember": True}, ["remember"]),
    ],
)
def test_a_sign_in_that_makes_no_sense_is_refused(mitrad, body, fields):
    document = problem_of(mitrad.internal.post(LOGIN, json=body), 400, "INVALID_REQUEST")
    assert fields_of(document) == fields


def test_me_is_nobody_without_an_account(mitrad, operator_token):
    problem_of(mitrad.internal.get("/internal/auth/me", token=operator_token), 401, "UNAUTHENTICATED")


# Staying signed in


def test_a_refresh_gives_a_new_access_token_and_a_new_cookie(signed_in):
    operator, browser = signed_in("agent")
    first = browser.cookie
    answer = browser.refresh()
    assert answer.status == 200, answer
    assert answer.json["user"]["id"] == operator.id and "refresh_token" not in answer.json
    assert browser.cookie != first and cookie_of(answer)["httponly"]
    assert browser.me().status == 200


def test_a_refresh_takes_up_a_new_role(signed_in, database):
    operator, browser = signed_in("admin")
    database.execute("UPDATE control_center_users SET role = 'agent' WHERE id = %s", operator.id)
    assert browser.refresh().json["user"]["role"] == "agent"
    problem_of(browser.api.get("/internal/audit", token=browser.token), 403, "FORBIDDEN")


def test_two_refreshes_at_once_leave_the_browser_signed_in(signed_in):
    """Two tabs: both get the same successor, whichever comes first."""
    _, browser = signed_in()
    cookie = browser.cookie
    answers = at_once([lambda: browser.refresh(cookie)] * 8)
    assert [answer.status for answer in answers] == [200] * 8
    assert len({cookie_of(answer).value for answer in answers}) == 1
    assert browser.refresh().status == 200


def test_a_cookie_that_comes_again_later_ends_the_session(signed_in, database):
    _, browser = signed_in()
    stolen = browser.cookie
    assert browser.refresh().status == 200
    database.execute("UPDATE auth_sessions SET rotated_at = rotated_at - interval '1 minute'")
    problem_of(browser.refresh(stolen), 401, "REFRESH_REUSED")
    problem_of(browser.refresh(), 401, "REFRESH_INVALID")
    problem_of(browser.me(), 401, "UNAUTHENTICATED")


@pytest.mark.parametrize("cookie", [None, "x", "=", '"quoted"', "a" * 5000, "b" * 43])
def test_a_cookie_that_is_none_of_ours_is_invalid(mitrad, cookie):
    headers = {} if cookie is None else {"Cookie": f"mitrad_refresh={cookie}"}
    problem_of(mitrad.internal.post(REFRESH, headers=headers), 401, "REFRESH_INVALID")


def test_an_apps_refresh_token_is_no_operators_and_the_reverse(mitrad, signed_in, browse):
    app = mitrad.post("/api/shared/auth/anonymous").json["refresh_token"]
    problem_of(browse().refresh(app), 401, "REFRESH_INVALID")
    _, browser = signed_in()
    answer = mitrad.post("/api/shared/auth/refresh", json={"refresh_token": browser.cookie})
    problem_of(answer, 401, "REFRESH_INVALID")
    assert browser.refresh().status == 200


# Signing out


def test_signing_out_ends_the_session_and_takes_the_cookie(signed_in):
    _, browser = signed_in()
    kept = browser.cookie
    answer = browser.logout()
    assert answer.status == 204 and answer.text == ""
    cookie = cookie_of(answer)
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", "/internal/auth")
    problem_of(browser.refresh(kept), 401, "REFRESH_INVALID")
    problem_of(browser.me(), 401, "UNAUTHENTICATED")


def test_signing_out_leaves_the_other_device_signed_in(make_operator, browse):
    operator, desk, phone = make_operator(), browse(), browse()
    assert desk.login(operator).status == phone.login(operator).status == 200
    assert desk.logout().status == 204
    assert phone.refresh().status == 200


def test_signing_out_works_without_the_cookie(signed_in):
    _, browser = signed_in()
    kept, browser.cookie = browser.cookie, None
    assert browser.logout().status == 204
    problem_of(browser.refresh(kept), 401, "REFRESH_INVALID")


def test_signing_out_needs_an_access_token(signed_in):
    _, browser = signed_in()
    browser.token = None
    problem_of(browser.logout(), 401, "UNAUTHENTICATED")
    assert browser.refresh().status == 200


# Pages of foreign origins

FOREIGN = [
    *("https://evil.example", "http://cc.example.org", "https://cc.example.org.evil.example", "https://cc.example.orgx"),
    *("null", "https://CC.example.org:8443", "cc.example.org", "127.0.0.1", "ftp://127.0.0.1"),
]


@pytest.mark.parametrize("origin", FOREIGN)
def test_a_foreign_page_signs_nobody_in_or_out(mitrad, signed_in, origin):
    operator, browser = signed_in()
    body = {"email": operator.email, "password": operator.password}
    for answer in (
        mitrad.internal.post(LOGIN, json=body, headers={"Origin": origin}),
        browser.refresh(Origin=origin),
        browser.logout(Origin=origin),
    ):
        problem_of(answer, 403, "FORBIDDEN")
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    assert browser.refresh().status == 200


def test_pages_of_the_control_center_and_of_this_host_may(mitrad, signed_in):
    for origin in (ORIGIN, f"http://127.0.0.1:{mitrad.internal.port}"):
        _, browser = signed_in()
        answer = browser.refresh(Origin=origin)
        assert answer.status == 200, origin
        assert browser.logout(Origin=origin).status == 204
    assert answer.headers.get("access-control-allow-origin") is None


def test_the_control_center_is_allowed_its_credentials(mitrad, signed_in):
    _, browser = signed_in()
    answer = browser.refresh(Origin=ORIGIN)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["vary"] == "Origin"


@pytest.mark.parametrize("path", [LOGIN, REFRESH, LOGOUT])
def test_a_preflight_is_granted_to_the_control_center_alone(mitrad, path):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    ours = mitrad.internal.request("OPTIONS", path, headers={"Origin": ORIGIN, **asked})
    assert ours.status == 204
    assert ours.headers["access-control-allow-origin"] == ORIGIN
    assert ours.headers["access-control-allow-credentials"] == "true"
    assert "POST" in ours.headers["access-control-allow-methods"]
    assert {"authorization", "content-type"} <= set(
        name.strip().lower() for name in ours.headers["access-control-allow-headers"].split(",")
    )
    theirs = mitrad.internal.request("OPTIONS", path, headers={"Origin": "https://evil.example", **asked})
    assert not [name for name in theirs.headers if name.startswith("access-control")]
    assert theirs.headers["vary"] == "Origin"


# What must not be seen


def test_no_password_and_no_token_is_in_the_log(mitrad, signed_in):
    operator, browser = signed_in()
    old = browser.cookie
    browser.refresh()
    browser.login(operator, password="a wrong password of the log test")
    answer = browser.logout()
    wait_until(lambda: answer.headers["x-request-id"] in mitrad.log_text(), what="the access line")
    log = mitrad.log_text()
    for secret in (operator.password, "a wrong password of the log test", old, browser.token, operator.email):
        assert secret not in log
