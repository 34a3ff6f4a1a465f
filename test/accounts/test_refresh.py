"""Refresh tokens: each works once, what a lost answer costs, and who may no longer use one."""

import threading
import uuid

import jwt
import pytest

from harness import tokens
from harness.api import fields_of, problem_of

LOGOUT = "/api/shared/auth/logout"
ONLINE, OFFLINE = "/api/mitra/status/online", "/api/mitra/status/offline"


def age_rotation(database, device, seconds=11):
    """Lets time pass for the device's session: its last exchange lies that long ago."""
    moved = database.execute(
        "UPDATE auth_sessions SET rotated_at = rotated_at - make_interval(secs => %s) WHERE id = %s",
        *(seconds, device.session_id),
    )
    assert moved == 1


def at_once(count, work):
    """The results of `count` calls that begin together."""
    barrier, results = threading.Barrier(count), []

    def run():
        barrier.wait()
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == count
    return results


def test_a_sign_in_answers_with_both_tokens_and_the_user(mitrad, anonymous, customer_token):
    device = anonymous(display_name="  Sari ")
    assert device.tokens.keys() == {"access_token", "expires_in", "refresh_token", "user"}
    assert device.tokens["expires_in"] == 3600
    assert device.user == {"id": device.user["id"], "user_type": "customer", "display_name": "Sari"}
    claims = jwt.decode(device.access, tokens.SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["user_type"]) == (device.user["id"], "customer")
    assert claims["exp"] - claims["iat"] == 3600
    uuid.UUID(claims["session_id"])


@pytest.mark.parametrize("more", [{"json": {}}, {}, {"body": ""}])
def test_an_anonymous_customer_needs_no_name(mitrad, more):
    answer = mitrad.post("/api/shared/auth/anonymous", **more)
    assert answer.status == 201
    assert answer.json["user"]["display_name"] is None


def test_only_the_hash_of_a_refresh_token_is_stored(database, anonymous):
    device = anonymous().refreshed()
    for table in ("auth_sessions", "auth_refresh_tokens_used"):
        assert device.refresh_token not in database.value(f"SELECT string_agg(t::text, ' ') FROM {table} t")


def test_a_refresh_token_is_exchanged_for_another(anonymous):
    device = anonymous()
    seen = {device.refresh_token}
    for _ in range(5):
        user, session = device.user, device.session_id
        device.refreshed()
        assert (device.user, device.session_id) == (user, session)
        seen.add(device.refresh_token)
    assert len(seen) == 6


def test_a_refresh_token_that_comes_again_ends_the_session(mitrad, database, anonymous):
    device = anonymous()
    stolen = device.refresh_token
    device.refreshed()
    age_rotation(database, device)
    problem_of(device.refresh(stolen), 401, "REFRESH_REUSED")
    problem_of(device.refresh(), 401, "REFRESH_INVALID")
    problem_of(device.refresh(stolen), 401, "REFRESH_INVALID")


def test_an_older_refresh_token_ends_the_session_at_once(anonymous):
    device = anonymous()
    older = device.refresh_token
    device.refreshed().refreshed()
    problem_of(device.refresh(older), 401, "REFRESH_REUSED")
    problem_of(device.refresh(), 401, "REFRESH_INVALID")


def test_a_client_that_lost_the_answer_may_ask_again_within_ten_seconds(database, anonymous):
    device = anonymous()
    lost = device.refresh()
    again = device.refresh()
    assert lost.status == again.status == 200
    # The same successor: there is one line of tokens, whichever answer arrived.
    assert lost.json["refresh_token"] == again.json["refresh_token"]
    device.tokens = again.json
    device.refreshed()


def test_the_ten_seconds_begin_with_the_first_exchange(database, anonymous):
    device = anonymous()
    first = device.refresh_token
    device.refreshed()
    age_rotation(database, device, 4)
    assert device.refresh(first).status == 200
    age_rotation(database, device, 7)
    problem_of(device.refresh(first), 401, "REFRESH_REUSED")


def test_refreshes_at_once_all_succeed_and_leave_one_line(database, anonymous):
    for _ in range(5):
        device = anonymous()
        answers = at_once(4, device.refresh)
        assert [answer.status for answer in answers] == [200] * 4
        assert len({answer.json["refresh_token"] for answer in answers}) == 1
        used = "SELECT count(*) FROM auth_refresh_tokens_used WHERE session_id = %s"
        assert database.value(used, device.session_id) == 1
        device.tokens = answers[0].json
        device.refreshed()


@pytest.mark.parametrize("token", ["x", "A" * 43, "A" * 8192])
def test_an_unknown_refresh_token_is_refused(mitrad, token):
    problem_of(mitrad.post("/api/shared/auth/refresh", json={"refresh_token": token}), 401, "REFRESH_INVALID")


@pytest.mark.parametrize("token", ["", "A" * 8193, "a b", "ä", 7, None, ["x"]])
def test_what_is_no_token_is_an_invalid_request(mitrad, token):
    answer = mitrad.post("/api/shared/auth/refresh", json={"refresh_token": token})
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == ["refresh_token"]


def test_an_expired_session_is_refused(database, anonymous):
    device = anonymous()
    database.execute("UPDATE auth_sessions SET expires_at = now() WHERE id = %s", device.session_id)
    problem_of(device.refresh(), 401, "REFRESH_INVALID")


def test_an_exchange_prolongs_the_session(database, anonymous):
    device = anonymous()
    database.execute(
        "UPDATE auth_sessions SET expires_at = now() + interval '1 minute' WHERE id = %s", device.session_id
    )
    device.refreshed()
    left = "SELECT expires_at > now() + interval '29 days' FROM auth_sessions WHERE id = %s"
    assert database.value(left, device.session_id)


def test_sessions_long_expired_are_forgotten(database, anonymous):
    old = anonymous().refreshed()
    database.execute(
        "UPDATE auth_sessions SET expires_at = now() - interval '8 days' WHERE id = %s", old.session_id
    )
    anonymous()
    assert database.value("SELECT count(*) FROM auth_sessions WHERE id = %s", old.session_id) == 0
    problem_of(old.refresh(), 401, "REFRESH_INVALID")


def test_used_tokens_are_forgotten_once_they_would_have_expired(database, anonymous):
    """A device that stays signed in for years leaves no more of them than those of a month."""
    device = anonymous()
    ancient = device.refresh_token
    device.refreshed()
    forgotten = "UPDATE auth_refresh_tokens_used SET used_at = now() - interval '30 days 1 second' WHERE session_id = %s"
    database.execute(forgotten, device.session_id)
    recent = device.refresh_token
    device.refreshed().refreshed()
    assert database.value("SELECT count(*) FROM auth_refresh_tokens_used WHERE session_id = %s", device.session_id) == 2
    problem_of(device.refresh(ancient), 401, "REFRESH_INVALID")
    device.refreshed()
    problem_of(device.refresh(recent), 401, "REFRESH_REUSED")


def test_logout_ends_one_device_only(mitrad, make_customer, signed_in):
    customer = make_customer()
    phone, tablet = signed_in(customer), signed_in(customer)
    for _ in range(2):
        assert mitrad.post(LOGOUT, json={"refresh_token": phone.refresh_token}).status == 204
    problem_of(phone.refresh(), 401, "REFRESH_INVALID")
    tablet.refreshed()


def test_logout_with_a_used_token_ends_the_session_too(mitrad, anonymous):
    device = anonymous()
    used = device.refresh_token
    device.refreshed()
    assert mitrad.post(LOGOUT, json={"refresh_token": used}).status == 204
    problem_of(device.refresh(), 401, "REFRESH_INVALID")


def test_logout_says_nothing_about_unknown_tokens(mitrad):
    assert mitrad.post(LOGOUT, json={"refresh_token": "unknown"}).status == 204


def test_an_operators_token_is_of_no_use_at_the_apps_door(mitrad, database, signed_in):
    operator = database.value(
        "INSERT INTO control_center_users (email, password_hash, role) VALUES ('a@example.org', '', 'admin') RETURNING id"
    )
    person = type("Person", (), {"user_type": "operator", "id": str(operator)})
    device = signed_in(person)
    problem_of(device.refresh(), 401, "REFRESH_INVALID")
    assert mitrad.post(LOGOUT, json={"refresh_token": device.refresh_token}).status == 204
    assert database.value("SELECT revoked_at FROM auth_sessions WHERE user_id = %s", str(operator)) is None


def test_a_deactivation_ends_every_session_of_the_mitra(mitrad, make_mitra, signed_in, operator_token):
    mitra = make_mitra()
    devices = [signed_in(mitra), signed_in(mitra).refreshed()]
    path = f"/internal/mitras/{mitra.id}"
    assert mitrad.internal.patch(path, token=operator_token, json={"is_active": False}).status == 200
    for device in devices:
        problem_of(device.refresh(), 403, "ACCOUNT_INACTIVE")
        problem_of(mitrad.post(ONLINE, token=device.access), 403, "ACCOUNT_INACTIVE")
    assert mitrad.internal.patch(path, token=operator_token, json={"is_active": True}).status == 200
    for device in devices:
        problem_of(device.refresh(), 401, "REFRESH_INVALID")


@pytest.mark.parametrize("path", [ONLINE, OFFLINE])
def test_a_revoked_session_changes_nothing_for_a_mitra_any_more(mitrad, database, make_mitra, signed_in, path):
    device = signed_in(make_mitra())
    assert mitrad.post(path, token=device.access).status == 200
    assert mitrad.post(LOGOUT, json={"refresh_token": device.refresh_token}).status == 204
    problem_of(mitrad.post(path, token=device.access), 401, "UNAUTHENTICATED")
    assert mitrad.get("/api/mitra/status", token=device.access).status == 200


def test_a_deactivation_at_the_same_moment_wins_over_a_refresh(mitrad, database, make_mitra, signed_in, operator_token):
    for _ in range(10):
        mitra = make_mitra()
        device = signed_in(mitra)

        def refresh_online():
            answer = device.refresh()
            if answer.status == 200:
                mitrad.post(ONLINE, token=answer.json["access_token"])
            return answer

        def deactivate():
            return mitrad.internal.patch(
                f"/internal/mitras/{mitra.id}", token=operator_token, json={"is_active": False}
            )

        race = iter([refresh_online, deactivate])
        lock = threading.Lock()

        def either():
            with lock:
                work = next(race)
            return work()

        answers = at_once(2, either)
        for answer in answers:
            assert answer.status == 200 or answer.code == "ACCOUNT_INACTIVE", answer
        alive = "SELECT count(*) FROM auth_sessions WHERE user_id = %s AND revoked_at IS NULL"
        assert database.value(alive, mitra.id) == 0
        assert not database.value("SELECT bool_or(is_online) FROM mitra_online_status WHERE mitra_id = %s", mitra.id)
        for answer in answers:
            if "refresh_token" in answer.json:
                problem_of(device.refresh(answer.json["refresh_token"]), 403, "ACCOUNT_INACTIVE")


def test_everybody_sees_himself(mitrad, anonymous, make_mitra, make_customer):
    device, mitra, customer = anonymous(display_name="Budi"), make_mitra(), make_customer()
    mine = mitrad.get("/api/client/auth/me", token=device.access)
    assert mine.status == 200
    assert (mine.json["id"], mine.json["display_name"], mine.json["anonymous"]) == (device.user["id"], "Budi", True)
    known = mitrad.get("/api/client/auth/me", token=customer.token).json
    assert (known["phone"], known["anonymous"]) == (customer.phone, False)
    his = mitrad.get("/api/mitra/auth/me", token=mitra.token).json
    assert (his["id"], his["phone"], his["is_active"]) == (mitra.id, mitra.phone, True)


def test_a_customer_changes_the_name(mitrad, anonymous):
    device = anonymous()
    changed = mitrad.patch("/api/client/auth/profile", token=device.access, json={"display_name": "Dewi"})
    assert (changed.status, changed.json["display_name"]) == (200, "Dewi")
    assert device.refreshed().user["display_name"] == "Dewi"
    answer = mitrad.patch("/api/client/auth/profile", token=device.access, json={"display_name": " "})
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == ["display_name"]


def test_nobody_behind_a_good_token_is_unauthenticated(mitrad, customer_token, mitra_token):
    problem_of(mitrad.get("/api/client/auth/me", token=customer_token()), 401, "UNAUTHENTICATED")
    problem_of(
        mitrad.patch("/api/client/auth/profile", token=customer_token(), json={"display_name": "X"}),
        *(401, "UNAUTHENTICATED"),
    )
    problem_of(mitrad.get("/api/mitra/auth/me", token=mitra_token()), 401, "UNAUTHENTICATED")


def test_a_deactivated_mitra_is_told_so(mitrad, make_mitra):
    mitra = make_mitra(is_active=False)
    problem_of(mitrad.get("/api/mitra/auth/me", token=mitra.token), 403, "ACCOUNT_INACTIVE")
