"""One-time codes: the way in by a phone, and every way that does not lead in."""

import hashlib
import itertools
import re
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import tokens
from harness.api import fields_of, problem_of
from harness.database import BY_THE_CLOCK

DOORS = {"customer": "/api/client/auth/otp", "mitra": "/api/mitra/auth/otp"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def settings(database):
    # Many tests, one address: the limits by address have tests of their own.
    database.execute("UPDATE app_config SET value = '100000' WHERE key LIKE 'rate_%' OR key = 'otp_per_address_hour'")
    return {"OTP_SENDER": "log", "AUTH_JWT_SECRET_PREVIOUS": tokens.PREVIOUS_SECRET}


def new_phone():
    return f"+62815{next(_numbers):08}"


class Code:
    """A code that was asked for; `code` is what the log says went to the phone."""

    def __init__(self, mitrad, answer, door):
        self.mitrad = mitrad
        self.id = answer.json["otp_request_id"]
        self.door = door

    @property
    def code(self):
        line = self.mitrad.wait_log(lambda line: line.get("otp_request_id") == self.id)
        return re.search(r" is ([0-9]{6})$", line["message"])[1]

    @property
    def wrong(self):
        return f"{(int(self.code) + 1) % 1000000:06}"

    def verify(self, code=None, door=None, token=None):
        body = {"otp_request_id": self.id, "code": code or self.code}
        return self.mitrad.post(DOORS[door or self.door] + "/verify", json=body, token=token)


@pytest.fixture
def ask(mitrad):
    """ask(phone, door="customer"): a Code."""

    def make(phone=None, door="customer"):
        answer = mitrad.post(DOORS[door] + "/request", json={"phone": phone or new_phone()})
        assert answer.status == 202, answer
        return Code(mitrad, answer, door)

    return make


def age(database, code, seconds):
    """As if the code had been asked for that long ago."""
    changed = """UPDATE otp_requests SET created_at = created_at - make_interval(secs => %s),
        expires_at = expires_at - make_interval(secs => %s) WHERE id = %s"""
    assert database.execute(changed, seconds, seconds, code.id) == 1


# The way in


def test_a_code_makes_a_customer_once(mitrad, database, ask):
    phone = new_phone()
    first = ask(phone).verify()
    assert first.status == 200
    assert first.json.keys() == {"access_token", "expires_in", "refresh_token", "user"}
    assert first.json["user"]["user_type"] == "customer"
    database.execute("DELETE FROM otp_requests WHERE phone = %s", phone)
    again = ask(phone).verify()
    assert again.json["user"] == first.json["user"]
    assert mitrad.get("/api/client/auth/me", token=again.json["access_token"]).json["phone"] == phone


def test_a_code_lets_a_registered_mitra_in(mitrad, make_mitra, ask):
    mitra = make_mitra()
    answer = ask(mitra.phone, "mitra").verify()
    assert answer.status == 200
    assert answer.json["user"] == {"id": mitra.id, "user_type": "mitra", "display_name": mitra.display_name}
    assert mitrad.post("/api/mitra/status/online", token=answer.json["access_token"]).status == 200


def test_the_answer_says_when_to_ask_again_and_how_long_the_code_lives(mitrad):
    answer = mitrad.post(DOORS["customer"] + "/request", json={"phone": new_phone()})
    assert answer.status == 202
    assert answer.json.keys() == {"otp_request_id", "resend_after_seconds", "expires_in_seconds"}
    uuid.UUID(answer.json["otp_request_id"])
    assert (answer.json["resend_after_seconds"], answer.json["expires_in_seconds"]) == (60, 300)


@pytest.mark.parametrize("typed", ["0{}", "62{}", "+62{}", "{}", "0062{}"])
def test_a_phone_is_one_phone_however_it_is_typed(make_mitra, ask, typed):
    mitra = make_mitra(phone=new_phone())
    assert ask(typed.format(mitra.phone[3:]), "mitra").verify().json["user"]["id"] == mitra.id


def test_codes_have_six_digits_and_differ(ask):
    codes = {ask().code for _ in range(20)}
    assert all(re.fullmatch("[0-9]{6}", code) for code in codes)
    assert len(codes) > 15


def test_a_code_is_stored_as_a_hash_that_nobody_can_try_codes_on(database, ask):
    code = ask()
    stored = database.one("SELECT * FROM otp_requests WHERE id = %s", code.id)
    assert code.code not in str(stored)
    for text in (code.code, code.id + code.code, f"otp:{code.id}:{code.code}"):
        assert hashlib.sha256(text.encode()).hexdigest() != stored["code_hash"]


def test_a_code_outlives_a_rotation_of_the_secret(mitrad, mitrad_factory, database, valkey, settings, ask):
    code = ask()
    known = code.code
    rotated = mitrad_factory(
        **{**settings, "AUTH_JWT_SECRET": tokens.OTHER_SECRET, "AUTH_JWT_SECRET_PREVIOUS": tokens.SECRET}
    )
    body = {"otp_request_id": code.id, "code": known}
    assert rotated.post(DOORS["customer"] + "/verify", json=body).status == 200


# The ways that do not lead in


def test_a_wrong_code_says_how_many_attempts_are_left(ask):
    code = ask()
    for left in (4, 3, 2, 1, 0):
        document = problem_of(code.verify(code.wrong), 400, "CODE_MISMATCH")
        assert document["attempts_left"] == left
    for tried in (code.wrong, code.code):
        problem_of(code.verify(tried), 410, "ATTEMPTS_EXCEEDED")


def test_the_last_attempt_may_be_the_right_one(ask):
    code = ask()
    for _ in range(4):
        problem_of(code.verify(code.wrong), 400, "CODE_MISMATCH")
    assert code.verify().status == 200


def test_a_code_works_once(ask):
    code = ask()
    assert code.verify().status == 200
    problem_of(code.verify(), 409, "OTP_USED")


def test_a_code_expires(database, ask):
    code = ask()
    age(database, code, 301)
    problem_of(code.verify(), 410, "OTP_EXPIRED")


def test_a_code_opens_only_the_door_it_was_asked_for_at(make_mitra, ask):
    mitra = make_mitra()
    theirs, ours = ask(mitra.phone, "mitra"), ask()
    problem_of(theirs.verify(door="customer"), 409, "WRONG_FLOW")
    problem_of(ours.verify(door="mitra"), 409, "WRONG_FLOW")
    # And is not worn out by that.
    assert theirs.verify().status == ours.verify().status == 200


def test_an_unknown_request_is_not_found(mitrad):
    body = {"otp_request_id": str(uuid.uuid4()), "code": "123456"}
    problem_of(mitrad.post(DOORS["customer"] + "/verify", json=body), 404, "NOT_FOUND")


def test_a_deactivated_mitra_is_told_so_once_the_phone_is_proven(make_mitra, ask):
    code = ask(make_mitra(is_active=False).phone, "mitra")
    problem_of(code.verify(code.wrong), 400, "CODE_MISMATCH")
    problem_of(code.verify(), 403, "ACCOUNT_INACTIVE")


@pytest.mark.parametrize(
    "body, fields",
    [
        ({}, ["code", "otp_request_id"]),
        ({"otp_request_id": "x", "code": "123456"}, ["otp_request_id"]),
        ({"otp_request_id": str(uuid.uuid4()), "code": "12345a"}, ["code"]),
        ({"otp_request_id": str(uuid.uuid4()), "code": 123456}, ["code"]),
        ({"otp_request_id": str(uuid.uuid4()), "code": "123"}, ["code"]),
        ({"otp_request_id": str(uuid.uuid4()), "code": "12345678901"}, ["code"]),
    ],
)
def test_a_body_that_is_no_code_is_invalid(mitrad, body, fields):
    answer = mitrad.post(DOORS["customer"] + "/verify", json=body)
    assert fields_of(problem_of(answer, 400, "INVALID_REQUEST")) == fields


def test_brute_force_gets_five_guesses_however_many_come_at_once(database, ask):
    code = ask()
    right = int(code.code)
    guesses = [f"{guess % 1000000:06}" for guess in range(right + 1, right + 61)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(code.verify, guesses))
    codes = [answer.code for answer in answers]
    assert codes.count("CODE_MISMATCH") == 5 and codes.count("ATTEMPTS_EXCEEDED") == 55
    problem_of(code.verify(), 410, "ATTEMPTS_EXCEEDED")
    assert database.value("SELECT attempts FROM otp_requests WHERE id = %s", code.id) == 5


def test_without_valkey_brute_force_gets_no_further(mitrad_factory, valkey_factory, settings):
    """Limits by address stand in for each worker; those by phone and by code are the truth's."""
    valkey = valkey_factory()
    mitrad = mitrad_factory(**{**settings, "VALKEY_URL": valkey.url})
    path, phone = DOORS["customer"] + "/request", new_phone()
    valkey.stop()
    with ThreadPoolExecutor(10) as pool:
        asked = list(pool.map(lambda _: mitrad.post(path, json={"phone": phone}), range(10)))
        assert sorted(answer.status for answer in asked) == [202] + [429] * 9
        code = Code(mitrad, next(answer for answer in asked if answer.status == 202), "customer")
        right = int(code.code)
        guesses = [f"{guess % 1000000:06}" for guess in range(right + 1, right + 31)]
        codes = [answer.code for answer in pool.map(code.verify, guesses)]
    assert codes.count("CODE_MISMATCH") == 5 and codes.count("ATTEMPTS_EXCEEDED") == 25


def test_a_deactivation_at_the_same_moment_wins_over_a_sign_in(mitrad, database, make_mitra, operator_token, ask):
    """Whichever comes first, nobody is left signed in."""
    for _ in range(10):
        mitra = make_mitra()
        code = ask(mitra.phone, "mitra")
        right, path = code.code, f"/internal/mitras/{mitra.id}"
        with ThreadPoolExecutor(2) as pool:
            signing_in = pool.submit(code.verify, right)
            deactivated = pool.submit(mitrad.internal.patch, path, token=operator_token, json={"is_active": False})
        assert deactivated.result().status == 200
        assert signing_in.result().code in (None, "ACCOUNT_INACTIVE"), signing_in.result()
        alive = "SELECT count(*) FROM auth_sessions WHERE user_id = %s AND revoked_at IS NULL"
        assert database.value(alive, mitra.id) == 0


def test_of_two_verifies_at_once_one_wins(database, ask):
    for _ in range(5):
        code = ask()
        right = code.code
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: code.verify(right), range(4)))
        assert sorted(answer.code or "" for answer in answers) == ["", "OTP_USED", "OTP_USED", "OTP_USED"]


# Limits


def test_a_phone_gets_one_code_a_minute_at_either_door(mitrad, database, ask):
    phone = new_phone()
    code = ask(phone)
    for door in DOORS.values():
        document = problem_of(mitrad.post(door + "/request", json={"phone": phone}), 429, "RATE_LIMITED")
        assert 50 <= document["retry_after_seconds"] <= 60
    age(database, code, 61)
    ask(phone)


def test_a_phone_gets_five_codes_an_hour(mitrad, database, ask):
    phone = new_phone()
    for _ in range(5):
        database.execute(
            "UPDATE otp_requests SET created_at = created_at - interval '5 minutes' WHERE phone = %s", phone
        )
        ask(phone)
    database.execute("UPDATE otp_requests SET created_at = created_at - interval '5 minutes' WHERE phone = %s", phone)
    answer = mitrad.post(DOORS["customer"] + "/request", json={"phone": phone})
    # The first of the five was 25 minutes ago.
    assert 34 * 60 < problem_of(answer, 429, "RATE_LIMITED")["retry_after_seconds"] <= 35 * 60


def test_requests_at_once_do_not_outrun_the_limit(mitrad):
    phone = new_phone()
    with ThreadPoolExecutor(8) as pool:
        path = DOORS["customer"] + "/request"
        answers = list(pool.map(lambda _: mitrad.post(path, json={"phone": phone}), range(8)))
    assert sorted(answer.status for answer in answers) == [202] + [429] * 7


@pytest.fixture
def request_from(mitrad_factory, database, settings):
    """request_from(address): asks for a code from there, where three an hour are allowed. `added` stands in a field of its own."""
    proxied = mitrad_factory(**{**settings, "TRUSTED_PROXIES": "127.0.0.0/8"})

    def request(address, added=None):
        headers = {"X-Forwarded-For": address} | ({"x-forwarded-for": added} if added else {})
        return proxied.post(DOORS["customer"] + "/request", json={"phone": new_phone()}, headers=headers)

    database.execute("UPDATE app_config SET value = '3' WHERE key = 'otp_per_address_hour'")
    yield request
    database.execute("UPDATE app_config SET value = '100000' WHERE key = 'otp_per_address_hour'")


def test_an_address_gets_so_many_codes_an_hour(request_from):
    assert [request_from("198.51.100.7").status for _ in range(4)] == [202, 202, 202, 429]
    assert request_from("198.51.100.8").status == 202
    # Only what the proxy has added counts.
    assert request_from("203.0.113.1, 198.51.100.7").status == 429
    assert request_from("203.0.113.1", added="198.51.100.7").status == 429


def test_an_ipv6_client_is_his_network_as_he_may_choose_his_addresses(request_from):
    assert [request_from(f"2001:db8:0:7::{host:x}").status for host in (1, 2, 0xFFFF, 4)] == [202, 202, 202, 429]
    assert request_from("2001:db8:0:8::1").status == 202


# Nobody learns whether a phone is known


def test_an_unknown_phone_takes_the_same_way_and_gets_no_message(mitrad, database, make_mitra, ask):
    known, unknown = make_mitra().phone, new_phone()
    ran = {}
    for phone in (known, unknown):
        with database.statements() as statements:
            answer = mitrad.post(DOORS["mitra"] + "/request", json={"phone": phone})
        ran[phone] = {text: calls for text, calls in statements.calls.items() if not any(part in text for part in BY_THE_CLOCK)}
        assert answer.status == 202
        assert answer.json.keys() == {"otp_request_id", "resend_after_seconds", "expires_in_seconds"}
    assert ran[known] == ran[unknown]
    # Messages go out in order; the one to the unknown phone would be there by now.
    ask(make_mitra().phone, "mitra").code
    assert [line for line in mitrad.messages("[otp]") if unknown in line] == []
    assert [line for line in mitrad.messages("[otp]") if known in line] != []


def test_an_unknown_phone_takes_as_long(mitrad, make_mitra):
    def ask_for(phone):
        answer = mitrad.post(DOORS["mitra"] + "/request", json={"phone": phone})
        assert answer.status == 202, answer
        return answer.headers["x-request-id"]

    pairs = [(ask_for(make_mitra().phone), ask_for(new_phone())) for _ in range(30)]
    mitrad.wait_log(lambda line: line.get("request_id") == pairs[-1][1] and "duration_us" in line)
    took = {line.get("request_id"): line["duration_us"] for line in mitrad.log_lines() if "duration_us" in line}
    known, unknown = (min(took[request] for request in requests) for requests in zip(*pairs))
    assert 0.4 < known / unknown < 2.5, (known, unknown)


def test_nobody_behind_a_phone_looks_like_a_wrong_code(mitrad):
    answer = mitrad.post(DOORS["mitra"] + "/request", json={"phone": new_phone()})
    body = {"otp_request_id": answer.json["otp_request_id"], "code": "000000"}
    verified = mitrad.post(DOORS["mitra"] + "/verify", json=body)
    assert problem_of(verified, 400, "CODE_MISMATCH")["attempts_left"] == 4


# Anonymous customers


def test_an_anonymous_customer_keeps_everything_with_a_phone(mitrad, database, anonymous, make_session, ask):
    device = anonymous(display_name="Sari")
    person = type("Person", (), {"id": device.user["id"]})
    session = make_session(customer=person, status="cancelled")
    phone = new_phone()
    answer = ask(phone).verify(token=device.access)
    assert answer.status == 200
    assert answer.json["user"] == device.user
    mine = mitrad.get("/api/client/auth/me", token=answer.json["access_token"]).json
    assert (mine["phone"], mine["anonymous"]) == (phone, False)
    assert database.value("SELECT customer_id::text FROM chat_sessions WHERE id = %s", session) == device.user["id"]
    database.execute("DELETE FROM otp_requests WHERE phone = %s", phone)
    assert ask(phone).verify().json["user"]["id"] == device.user["id"]


def test_a_phone_of_another_customer_stays_his(mitrad, make_customer, anonymous, ask):
    customer, device = make_customer(), anonymous()
    code = ask(customer.phone)
    problem_of(code.verify(token=device.access), 409, "IDENTITY_IN_USE")
    assert mitrad.get("/api/client/auth/me", token=device.access).json["anonymous"] is True
    # The phone is proven all the same: without the anonymous token it signs its owner in.
    assert code.verify().json["user"]["id"] == customer.id


def test_a_customer_with_a_phone_does_not_get_another_in_passing(make_customer, ask):
    problem_of(ask().verify(token=make_customer().token), 409, "IDENTITY_EXISTS")


def test_ones_own_phone_signs_one_in_again(make_customer, ask):
    customer = make_customer()
    assert ask(customer.phone).verify(token=customer.token).json["user"]["id"] == customer.id


def test_one_phone_goes_to_one_of_two_anonymous_customers(database, anonymous, ask):
    phone = new_phone()
    devices = [anonymous() for _ in range(2)]
    codes = []
    for _ in devices:
        codes.append(ask(phone))
        age(database, codes[-1], 61)
    pairs = [(code, code.code, device) for code, device in zip(codes, devices)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda pair: pair[0].verify(pair[1], token=pair[2].access), pairs))
    assert sorted(answer.code or "" for answer in answers) == ["", "IDENTITY_IN_USE"]


def test_two_codes_for_a_new_phone_make_one_customer(database, ask):
    phone = new_phone()
    codes = []
    for _ in range(3):
        codes.append(ask(phone))
        age(database, codes[-1], 61)
    right = [(code, code.code) for code in codes]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda pair: pair[0].verify(pair[1]), right))
    assert [answer.status for answer in answers] == [200] * 3
    assert len({answer.json["user"]["id"] for answer in answers}) == 1


@pytest.mark.parametrize("bad", ["expired", "foreign signature", "alg none"])
def test_a_bad_token_that_comes_along_is_refused(database, anonymous, ask, bad):
    device, code = anonymous(), ask()
    token, expected = tokens.bad_tokens("customer", device.user["id"])[bad]
    problem_of(code.verify(token=token), 401, expected)
    assert code.verify(token=device.access).status == 200


def test_a_revoked_session_gets_no_phone(mitrad, anonymous, ask):
    device, code = anonymous(), ask()
    mitrad.post("/api/shared/auth/logout", json={"refresh_token": device.refresh_token})
    problem_of(code.verify(token=device.access), 401, "UNAUTHENTICATED")


def test_a_mitras_token_is_no_customers(make_mitra, ask):
    problem_of(ask().verify(token=make_mitra().token), 403, "WRONG_USER_TYPE")


# What is configured


def test_the_providers_are_those_that_are_configured(mitrad, mitrad_factory, settings):
    assert mitrad.get("/api/shared/auth-providers").json == {"providers": ["anonymous", "otp"]}
    silent = mitrad_factory(**{**settings, "OTP_SENDER": None})
    assert silent.get("/api/shared/auth-providers").json == {"providers": ["anonymous"]}
    for step in ("request", "verify"):
        body = {"phone": new_phone()} if step == "request" else {"otp_request_id": str(uuid.uuid4()), "code": "1234"}
        for door in DOORS.values():
            problem_of(silent.post(f"{door}/{step}", json=body), 404, "NOT_FOUND")


def test_old_requests_are_forgotten(database, ask):
    old = ask()
    age(database, old, 86401)
    ask()
    assert database.value("SELECT count(*) FROM otp_requests WHERE id = %s", old.id) == 0
