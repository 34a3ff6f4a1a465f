"""How often one client may come to the routes by which one signs in; with Valkey there, and away."""

import itertools
import re
import uuid

import pytest

from harness import tokens
from harness.api import problem_of
from harness.mitrad import CALM

ANONYMOUS = "/api/shared/auth/anonymous"
REFRESH = "/api/shared/auth/refresh"
PROXIES = "127.0.0.0/8, 10.0.0.0/8"
_numbers = itertools.count(1)


@pytest.fixture
def limited(mitrad_factory, database, valkey, until):
    """limited(rate_anonymous_per_minute=3, …): an instance with those limits, behind a trusted proxy."""
    valkey.ensure_running()

    def make(**limits):
        with valkey.client() as client:
            client.flushdb()
        database.execute("DELETE FROM app_config WHERE key LIKE 'rate_%'")
        for key, limit in {"rate_anonymous_per_minute": 777, **limits}.items():
            database.execute("INSERT INTO app_config (key, value) VALUES (%s, %s::jsonb)", key, str(limit))
        return another(limits.get("rate_anonymous_per_minute", 777))

    def another(expected):
        mitrad = mitrad_factory(
            arrangement=CALM,
            **{"WORKERS": 1, "OTP_SENDER": "log", "TRUSTED_PROXIES": PROXIES},
            **{"GOOGLE_CLIENT_IDS": "an-app", "APPLE_CLIENT_IDS": "an-app"},
        )
        stranger = (f"192.0.2.{number}" for number in itertools.count(1))
        until(lambda: standing(come(mitrad, next(stranger)))[1] == expected, what="the limits to be known")
        return mitrad

    make.another = another
    return make


def come(mitrad, address="198.51.100.1", path=ANONYMOUS, body=None):
    api = mitrad.internal if path.startswith("/internal/") else mitrad.public
    # Of the routes here, only the operators' logout wants a token; some others refuse an operator's.
    token = tokens.mint("operator") if path == "/internal/auth/logout" else None
    return api.post(path, json=body or {}, token=token, headers={"X-Forwarded-For": address})


def standing(answer):
    """(name, limit, window, remaining, reset) of the headers."""
    policy = re.fullmatch(r'"(\w+)";q=(\d+);w=(\d+)', answer.headers["ratelimit-policy"])
    limit = re.fullmatch(r'"(\w+)";r=(\d+);t=(\d+)', answer.headers["ratelimit"])
    assert policy[1] == limit[1]
    return (policy[1], *map(int, (policy[2], policy[3], limit[2], limit[3])))


def test_the_headers_count_down_to_the_refusal(limited):
    mitrad = limited(rate_anonymous_per_minute=3)
    answers = [come(mitrad) for _ in range(4)]
    assert [answer.status for answer in answers] == [201, 201, 201, 429]
    assert [standing(answer)[:4] for answer in answers] == [("anonymous", 3, 60, left) for left in (2, 1, 0, 0)]
    assert 15 <= problem_of(answers[3], 429, "RATE_LIMITED")["retry_after_seconds"] <= 20
    assert standing(answers[3])[4] == answers[3].json["retry_after_seconds"]


def test_a_token_comes_back_in_time(limited, until):
    mitrad = limited(rate_anonymous_per_minute=60)
    # A slow machine gets some tokens back meanwhile.
    assert any(come(mitrad).status == 429 for _ in range(600))
    until(lambda: come(mitrad).status == 201)


def new_phone():
    """A phone has a limit of its own."""
    return {"phone": f"+62817{next(_numbers):08}"}


def no_code():
    return {"otp_request_id": str(uuid.uuid4()), "code": "123456"}


def no_token():
    return {"refresh_token": "unknown"}


def no_identity():
    return {"id_token": "unknown", "nonce": "unknown"}


def no_operator():
    return {"email": "nobody@example.com", "password": "unknown"}


@pytest.mark.parametrize(
    "path, body, key",
    [
        (ANONYMOUS, dict, "rate_anonymous_per_minute"),
        (REFRESH, no_token, "rate_refresh_per_minute"),
        ("/api/shared/auth/logout", no_token, "rate_refresh_per_minute"),
        ("/api/client/auth/otp/request", new_phone, "rate_otp_request_per_minute"),
        ("/api/mitra/auth/otp/request", new_phone, "rate_otp_request_per_minute"),
        ("/api/client/auth/otp/verify", no_code, "rate_otp_verify_per_minute"),
        ("/api/mitra/auth/otp/verify", no_code, "rate_otp_verify_per_minute"),
        ("/api/shared/auth/google", no_identity, "rate_identity_per_minute"),
        ("/api/shared/auth/apple", no_identity, "rate_identity_per_minute"),
        ("/internal/auth/login", no_operator, "rate_login_per_minute"),
        ("/internal/auth/refresh", dict, "rate_refresh_per_minute"),
        ("/internal/auth/logout", dict, "rate_refresh_per_minute"),
    ],
)
def test_every_way_to_sign_in_has_a_limit(limited, path, body, key):
    mitrad = limited(**{key: 2})
    for left in (1, 0):
        answer = come(mitrad, path=path, body=body())
        assert (answer.code != "RATE_LIMITED", standing(answer)[3]) == (True, left)
    problem_of(come(mitrad, path=path, body=body()), 429, "RATE_LIMITED")


def test_other_addresses_are_not_hindered(limited):
    mitrad = limited(rate_anonymous_per_minute=1)
    addresses = ["198.51.100.1", "198.51.100.2", "2001:db8:0:1::1", "2001:db8:0:2::1"]
    for address in addresses:
        assert come(mitrad, address).status == 201
        assert come(mitrad, address).status == 429


@pytest.mark.parametrize(
    "first, second",
    [
        ("2001:db8:0:9::1", "2001:db8:0:9:ffff::2"),
        ("198.51.100.9", "::ffff:198.51.100.9"),
        ("198.51.100.10", "203.0.113.5, 198.51.100.10"),
        ("198.51.100.11", "198.51.100.11, 10.1.2.3"),
        ("198.51.100.12", "198.51.100.12:4711"),
        ("2001:db8:0:a::1", "[2001:db8:0:a::1]:443"),
        ("198.51.100.13", "garbage, 198.51.100.13"),
        ("198.51.100.14", "198.51.100.14 ,"),
        # Nothing that a proxy of ours would write: the proxy itself counts.
        ("10.9.9.9", "198.51.100.15, garbage, 10.9.9.9"),
    ],
)
def test_one_client_is_one_however_it_is_written(limited, first, second):
    mitrad = limited(rate_anonymous_per_minute=1)
    assert come(mitrad, first).status == 201
    assert come(mitrad, second).status == 429


def test_an_untrusted_peer_cannot_name_itself(mitrad_factory, limited, until):
    limited(rate_anonymous_per_minute=1)
    mitrad = mitrad_factory(arrangement=CALM, WORKERS=1)
    until(lambda: come(mitrad, f"198.51.100.{20 + next(_numbers) % 200}").status == 429)


def test_two_instances_share_the_limit(limited):
    one = limited(rate_anonymous_per_minute=2)
    two = limited.another(2)
    assert [come(mitrad).status for mitrad in (one, two, one, two)] == [201, 201, 429, 429]


def test_the_limit_follows_the_configuration(limited, operator_token, until):
    mitrad = limited(rate_anonymous_per_minute=1)
    assert come(mitrad).status == 201
    patch = {"rate_anonymous_per_minute": 50}
    assert mitrad.internal.patch("/internal/config", token=operator_token, json=patch).status == 200
    until(lambda: standing(come(mitrad))[1] == 50)


def test_buckets_expire(limited, valkey):
    mitrad = limited(rate_anonymous_per_minute=1)
    come(mitrad)
    with valkey.client() as client:
        assert 0 < client.pttl("mirror:rate:anonymous:198.51.100.1") <= 60000
        # -2 tells of one that has expired since.
        assert all(client.pttl(key) != -1 for key in client.keys("mirror:rate:*"))


@pytest.mark.parametrize("spoilt", ["list", "far future", "text"])
def test_a_spoilt_bucket_locks_nobody_out(limited, valkey, spoilt):
    mitrad = limited(rate_anonymous_per_minute=60)
    key = "mirror:rate:anonymous:198.51.100.1"
    with valkey.client() as client:
        if spoilt == "list":
            client.rpush(key, "x")
        else:
            client.set(key, "9" * 18 if spoilt == "far future" else "x")
    answers = [come(mitrad).status for _ in range(3)]
    # A clock that was set back costs one period at most.
    assert answers == [201] * 3 or spoilt == "far future"
    if spoilt == "far future":
        assert come(mitrad).json["retry_after_seconds"] <= 1


def test_without_valkey_the_worker_counts(limited, valkey):
    mitrad = limited(rate_anonymous_per_minute=3)
    valkey.stop()
    try:
        answers = [come(mitrad) for _ in range(5)]
        assert [answer.status for answer in answers] == [201, 201, 201, 429, 429]
        assert [standing(answer)[3] for answer in answers] == [2, 1, 0, 0, 0]
        problem_of(answers[4], 429, "RATE_LIMITED")
        assert come(mitrad, "198.51.100.2").status == 201
    finally:
        valkey.ensure_running()
