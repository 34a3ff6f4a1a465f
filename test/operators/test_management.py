"""Admins manage operators, and everybody changes his own password."""

import threading
import uuid

import pytest

from harness.api import fields_of, problem_of
from harness.operators import USERS, Operator

OWN = f"{USERS}/me/password"
NOBODY = "11111111-2222-4333-8444-555555555555"
SHOWN = {"id", "email", "role", "is_active", "locked_until", "created_at"}


@pytest.fixture
def admin(make_operator):
    return make_operator("admin")


@pytest.fixture
def post(mitrad, admin):
    """post(path, body): as an admin, unless another token is given."""
    return lambda path, json, token=None: mitrad.internal.post(path, token=token or admin.token, json=json)


@pytest.fixture
def patch(mitrad, admin):
    return lambda operator, token=None, **body: mitrad.internal.patch(
        f"{USERS}/{operator.id}", token=token or admin.token, json=body
    )


def new_email():
    return f"{uuid.uuid4()}@example.com"


# Making them


def test_an_admin_makes_an_operator_who_can_sign_in(post, browser):
    email, password = new_email(), "a good long password"
    answer = post(USERS, {"email": email.upper(), "role": "agent", "password": password})
    assert answer.status == 201, answer
    assert answer.json.keys() == SHOWN
    assert (answer.json["email"], answer.json["role"], answer.json["is_active"]) == (email, "agent", True)
    assert browser.login(Operator(None, email, password, "agent")).status == 200


def test_without_a_password_one_is_made_and_told_once(mitrad, post, admin, browser):
    answer = post(USERS, {"email": new_email(), "role": "admin"})
    assert answer.status == 201 and answer.json.keys() == SHOWN | {"password"}
    password = answer.json["password"]
    assert len(password) == 24
    assert browser.login(Operator(None, answer.json["email"], password, "admin")).status == 200
    assert password not in mitrad.internal.get(f"{USERS}?limit=200", token=admin.token).text
    assert password not in mitrad.log_text()


def test_generated_passwords_differ(post):
    made = {post(USERS, {"email": new_email(), "role": "agent"}).json["password"] for _ in range(3)}
    assert len(made) == 3


def test_an_address_belongs_to_one_operator(post, make_operator):
    operator = make_operator()
    answer = post(USERS, {"email": operator.email.upper(), "role": "agent"})
    problem_of(answer, 409, "EMAIL_IN_USE")


def test_two_who_make_the_same_operator_at_once_make_one(post):
    email, answers = new_email(), []
    threads = [
        threading.Thread(target=lambda: answers.append(post(USERS, {"email": email, "role": "agent"}).status))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    "body, fields",
    [
        ({}, ["email", "role"]),
        ({"email": "x", "role": "owner"}, ["email", "role"]),
        ({"email": "a@b", "role": "agent", "password": ""}, ["password"]),
        ({"email": "a@b", "role": "agent", "password": None}, ["password"]),
        ({"email": "a@b", "role": "agent", "is_active": True}, ["is_active"]),
    ],
)
def test_an_operator_that_makes_no_sense_is_refused(post, body, fields):
    assert fields_of(problem_of(post(USERS, body), 400, "INVALID_REQUEST")) == fields


def test_the_list_has_every_operator_once_newest_first(mitrad, make_operator, database):
    made = [make_operator() for _ in range(5)]
    wanted = [r["id"] for r in database.rows("SELECT id FROM control_center_users ORDER BY created_at DESC, id DESC")]
    seen, cursor = [], ""
    while cursor is not None:
        page = mitrad.internal.get(f"{USERS}?limit=3{cursor and '&cursor=' + cursor}", token=made[0].token).json
        seen += [user["id"] for user in page["users"]]
        cursor = page["next_cursor"]
        assert all(user.keys() == SHOWN for user in page["users"])
    assert seen == wanted


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x"])
def test_a_list_that_makes_no_sense_is_refused(mitrad, operator_token, query):
    problem_of(mitrad.internal.get(f"{USERS}?{query}", token=operator_token), 400, "INVALID_REQUEST")


# Passwords that are taken

BAD_PASSWORDS = [
    *("short", "elevenchars", "ééééééééééé", "aaaaaaaaaaaa", "abcabcabcabc", "123412341234", "123456789012"),
    *("abcdefghijklmnop", "zyxwvutsrqponml", "098765432109", "Password1234", "QWERTYUIOP123", "correcthorsebatterystaple"),
    *("indonesia2026", "p@ssw0rd1234"),
]


@pytest.mark.parametrize("password", BAD_PASSWORDS)
def test_a_password_that_is_easily_guessed_is_not_taken(post, make_operator, password):
    operator = make_operator()
    refused = [
        (post(USERS, {"email": new_email(), "role": "agent", "password": password}), "password"),
        (post(f"{USERS}/{operator.id}/password", {"new_password": password}), "new_password"),
        (
            post(OWN, {"current_password": operator.password, "new_password": password}, operator.token),
            "new_password",
        ),
    ]
    for answer, field in refused:
        assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == [field]
        assert password not in answer.text


@pytest.mark.parametrize("password", ["éééééééé1234", "correct horse battery", "            1", "🐎" * 6 + "🔋" * 6, "x9" * 128])
def test_length_counts_and_not_the_kinds_of_characters(post, browser, password):
    answer = post(USERS, {"email": new_email(), "role": "agent", "password": password})
    repeats = password == "x9" * 128
    assert answer.status == (400 if repeats else 201), answer
    if not repeats:
        assert browser.login(Operator(None, answer.json["email"], password, "agent")).status == 200


def test_ones_address_is_no_password(post, make_operator):
    operator = make_operator(email=f"a.long.local.part.{uuid.uuid4()}@example.com")
    for password in (operator.email, operator.email.upper(), operator.email.split("@")[0]):
        answers = (
            post(f"{USERS}/{operator.id}/password", {"new_password": password}),
            post(OWN, {"current_password": operator.password, "new_password": password}, operator.token),
        )
        for answer in answers:
            assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == ["new_password"]


def test_whoever_chooses_an_impossible_password_has_not_failed_to_tell_the_present_one(post, make_operator, database):
    operator = make_operator(email=f"a.long.local.part.{uuid.uuid4()}@example.com")
    body = {"current_password": operator.password, "new_password": operator.email}
    for _ in range(6):
        problem_of(post(OWN, body, operator.token), 400, "INVALID_REQUEST")
    failed = "SELECT failed_login_count FROM control_center_users WHERE id = %s"
    assert database.value(failed, operator.id) == 0


# Changing passwords


def test_changing_ones_password_ends_all_ones_sessions(post, make_operator, browse):
    operator, here, there = make_operator("agent"), browse(), browse()
    assert here.login(operator).status == there.login(operator).status == 200
    body = {"current_password": operator.password, "new_password": "the next password of mine"}
    answer = post(OWN, body, here.token)
    assert answer.status == 204 and answer.text == ""
    for browser in (here, there):
        problem_of(browser.refresh(), 401, "REFRESH_INVALID")
        problem_of(browser.me(), 401, "UNAUTHENTICATED")
    problem_of(browse().login(operator), 401, "BAD_CREDENTIALS")
    assert browse().login(operator, body["new_password"]).status == 200


def test_changing_ones_password_takes_the_present_one(post, signed_in):
    _, browser = signed_in()
    body = {"current_password": "a guess at it", "new_password": "the next password of mine"}
    problem_of(post(OWN, body, browser.token), 401, "BAD_CREDENTIALS")
    assert browser.refresh().status == 200


def test_the_new_password_is_another_one(post, make_operator):
    operator = make_operator()
    body = {"current_password": operator.password, "new_password": operator.password}
    document = problem_of(post(OWN, body, operator.token), 400, "INVALID_REQUEST")
    assert fields_of(document) == ["new_password"]


def test_a_token_with_nobody_behind_it_has_no_password(post, operator_token):
    body = {"current_password": "whatever it is", "new_password": "the next password of mine"}
    problem_of(post(OWN, body, operator_token), 401, "UNAUTHENTICATED")


@pytest.mark.parametrize("body", [{"new_password": "set by the admin, long"}, {}, None])
def test_a_forced_reset_sets_a_password_and_ends_all_sessions(post, signed_in, browse, body):
    operator, browser = signed_in("agent")
    answer = post(f"{USERS}/{operator.id}/password", body)
    assert answer.status == 200, answer
    assert answer.json.keys() == (SHOWN if body else SHOWN | {"password"})
    problem_of(browser.refresh(), 401, "REFRESH_INVALID")
    problem_of(browse().login(operator), 401, "BAD_CREDENTIALS")
    password = body["new_password"] if body else answer.json["password"]
    assert browse().login(operator, password).status == 200


def test_an_admin_does_not_get_around_his_present_password(post, admin, browser):
    problem_of(post(f"{USERS}/{admin.id}/password", {}), 403, "FORBIDDEN")
    assert browser.login(admin).status == 200


def test_nobody_has_no_password_to_reset(post, patch):
    problem_of(post(f"{USERS}/{NOBODY}/password", {}), 404, "NOT_FOUND")
    problem_of(patch(Operator(NOBODY, "", "", "agent"), role="agent"), 404, "NOT_FOUND")


def test_a_sign_in_that_races_a_password_change_does_not_outlive_it(database, make_operator, mitrad):
    """The password was checked against the hash of before: the second half of the sign-in finds another one."""
    operator = make_operator()
    old = database.value("SELECT password_hash FROM control_center_users WHERE id = %s", operator.id)
    database.execute("UPDATE control_center_users SET password_hash = 'x' WHERE id = %s", operator.id)
    row = database.one("SELECT * FROM mitrad.operator_login_finish(%s, %s, 'h', 30)", operator.id, old)
    assert row["problem"] == "BAD_CREDENTIALS"
    assert database.value("SELECT count(*) FROM auth_sessions WHERE user_id = %s", operator.id) == 0


# Roles, and who is out of service


def test_a_role_is_changed(patch, make_operator):
    operator = make_operator("agent")
    answer = patch(operator, role="admin")
    assert answer.status == 200 and answer.json.keys() == SHOWN
    assert answer.json["role"] == "admin"


def test_whoever_is_put_out_of_service_is_out_at_once(mitrad, patch, signed_in, browse, make_mitra):
    operator, browser = signed_in("admin")
    mitra = make_mitra()
    assert patch(operator, is_active=False).json["is_active"] is False
    problem_of(browser.refresh(), 403, "ACCOUNT_INACTIVE")
    problem_of(browse().login(operator), 403, "ACCOUNT_INACTIVE")
    # His access token has not expired; it changes nothing any more.
    for token in (browser.token, operator.token):
        for answer in (
            mitrad.internal.patch(f"/internal/mitras/{mitra.id}", token=token, json={"is_active": False}),
            mitrad.internal.post("/internal/mitras", token=token, json={"phone": "+6281299990000", "display_name": "X"}),
            mitrad.internal.patch("/internal/config", token=token, json={"goodbye_seconds": 31}),
            mitrad.internal.post(USERS, token=token, json={"email": new_email(), "role": "admin"}),
            mitrad.internal.get(USERS, token=token),
            mitrad.internal.get("/internal/audit", token=token),
        ):
            assert answer.code in ("UNAUTHENTICATED", "ACCOUNT_INACTIVE"), answer
    assert mitrad.internal.get(f"/internal/mitras/{mitra.id}", token=browser.token).json["is_active"] is True
    assert patch(operator, is_active=True).json["is_active"] is True
    assert browse().login(operator).status == 200


def test_a_former_admins_token_no_longer_changes_what_only_admins_may(mitrad, patch, signed_in):
    operator, browser = signed_in("admin")
    patch(operator, role="agent")
    for answer in (
        mitrad.internal.patch("/internal/config", token=browser.token, json={"goodbye_seconds": 31}),
        mitrad.internal.post(USERS, token=browser.token, json={"email": new_email(), "role": "admin"}),
        patch(operator, token=browser.token, role="admin"),
    ):
        problem_of(answer, 403, "FORBIDDEN")


def test_whoever_was_deleted_by_hand_changes_nothing_any_more(mitrad, signed_in, database):
    operator, browser = signed_in("admin")
    assert mitrad.internal.get(USERS, token=browser.token).status == 200
    database.execute("DELETE FROM control_center_users WHERE id = %s", operator.id)
    for answer in (
        mitrad.internal.patch("/internal/config", token=browser.token, json={"goodbye_seconds": 31}),
        mitrad.internal.post(USERS, token=browser.token, json={"email": new_email(), "role": "admin"}),
        mitrad.internal.get(USERS, token=browser.token),
        mitrad.internal.get("/internal/audit", token=browser.token),
        browser.me(),
    ):
        problem_of(answer, 401, "UNAUTHENTICATED")
    problem_of(browser.refresh(), 401, "REFRESH_INVALID")


@pytest.fixture
def only_admins(database, make_operator):
    """only_admins(n): that many active admins, and no others."""

    def make(count):
        database.execute("UPDATE control_center_users SET is_active = false")
        return [make_operator("admin") for _ in range(count)]

    return make


@pytest.mark.parametrize("change", [{"role": "agent"}, {"is_active": False}, {"role": "agent", "is_active": False}])
def test_the_last_admin_stays(patch, only_admins, make_operator, change):
    (last,) = only_admins(1)
    make_operator("agent"), make_operator("admin", is_active=False)
    problem_of(patch(last, token=last.token, **change), 409, "LAST_ADMIN")
    assert patch(last, token=last.token, role="admin", is_active=True).status == 200


def test_two_admins_who_demote_each_other_at_once_leave_one(patch, only_admins, database):
    for _ in range(5):
        one, other = only_admins(2)
        answers = []
        threads = [
            threading.Thread(target=lambda by, whom: answers.append(patch(whom, token=by.token, role="agent").status), args=pair)
            for pair in ((one, other), (other, one))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        # The later one finds himself demoted, or the last.
        assert sorted(answers)[0] == 200 and sorted(answers)[1] in (403, 409)
        left = "SELECT count(*) FROM control_center_users WHERE role = 'admin' AND is_active"
        assert database.value(left) == 1


@pytest.mark.parametrize("body", [{}, {"role": "owner"}, {"is_active": "no"}, {"email": "a@b"}, {"password": "x"}])
def test_a_change_that_makes_no_sense_is_refused(patch, make_operator, body):
    problem_of(patch(make_operator(), **body), 400, "INVALID_REQUEST")
