"""Signing in by Google and Apple, whose part a local issuer plays, over real HTTPS."""

import base64
import hashlib
import itertools
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest

from harness import program
from harness.api import fields_of, problem_of
from harness.issuer import Issuer, Key
from harness.mitrad import CALM

GOOGLE, APPLE = "/api/shared/auth/google", "/api/shared/auth/apple"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def issuer():
    made = Issuer()
    yield made
    made.stop()


def configured(issuer):
    return {
        "WORKERS": 1,
        "HTTPS_CA_FILE": issuer.service.ca_file,
        **{"GOOGLE_CLIENT_IDS": f"another, {Issuer.CLIENT}", "GOOGLE_ISSUERS": f"{Issuer.NAME},issuer.example.org"},
        **{"APPLE_CLIENT_IDS": Issuer.CLIENT, "APPLE_ISSUERS": Issuer.NAME},
        **{"GOOGLE_JWKS_URL": issuer.url, "APPLE_JWKS_URL": issuer.url},
    }


@pytest.fixture(scope="module")
def settings(database, issuer):
    # Many tests, one address: the limits by address have tests of their own.
    database.execute("UPDATE app_config SET value = '100000' WHERE key LIKE 'rate_%'")
    return configured(issuer)


@pytest.fixture
def own_issuer():
    """For a test that changes what the issuer publishes."""
    made = Issuer()
    yield made
    made.stop()


@pytest.fixture
def own_mitrad(mitrad_factory, settings, own_issuer):
    return mitrad_factory(arrangement=CALM, **configured(own_issuer))


def subject():
    return f"subject-{next(_numbers)}"


def sign_in(mitrad, id_token, path=GOOGLE, nonce="the-nonce", token=None):
    return mitrad.post(path, json={"id_token": id_token, "nonce": nonce}, token=token)


# The way in


@pytest.mark.parametrize("path, flag", [(GOOGLE, "google"), (APPLE, "apple")])
def test_an_identity_makes_a_customer_once(mitrad, issuer, path, flag):
    who = subject()
    first = sign_in(mitrad, issuer.token(sub=who, name="Sari"), path)
    assert first.status == 200, first
    assert first.json.keys() == {"access_token", "expires_in", "refresh_token", "user"}
    assert first.json["user"]["display_name"] == "Sari"
    assert sign_in(mitrad, issuer.token(sub=who), path).json["user"] == first.json["user"]
    mine = mitrad.get("/api/client/auth/me", token=first.json["access_token"]).json
    assert (mine[flag], mine["anonymous"]) == (True, False)


def test_the_two_providers_are_two_identities(mitrad, issuer):
    who = subject()
    ids = {sign_in(mitrad, issuer.token(sub=who), path).json["user"]["id"] for path in (GOOGLE, APPLE)}
    assert len(ids) == 2


@pytest.mark.parametrize("verified, known", [(True, True), ("true", True), (False, False), (None, False), (1, False)])
def test_an_email_address_counts_if_the_provider_has_verified_it(mitrad, issuer, verified, known):
    token = issuer.token(sub=subject(), email="sari@example.org", email_verified=verified)
    access = sign_in(mitrad, token).json["access_token"]
    email = mitrad.get("/api/client/auth/me", token=access).json["email"]
    assert email == ("sari@example.org" if known else None)


@pytest.mark.parametrize(
    "name, shown",
    [("é" * 80, "é" * 80), ("  Sari ", "Sari"), ("é" * 81, None), ("", None), ("  ", None), ("a\x1b[31m", None),
     ("a\x85b", None), (7, None)],
    ids=ascii,
)
def test_a_providers_name_is_one_that_the_customer_could_have_chosen(mitrad, issuer, name, shown):
    answer = sign_in(mitrad, issuer.token(sub=subject(), name=name))
    assert (answer.status, answer.json["user"]["display_name"]) == (200, shown)


@pytest.mark.parametrize("cache_control", ["max-age=9223372036854775807", "max-age=-1", "max-age=x", "max-age=" + "9" * 40])
def test_a_strange_age_of_the_keys_does_no_harm(own_mitrad, own_issuer, cache_control):
    own_issuer.cache_control = cache_control
    for _ in range(2):
        assert sign_in(own_mitrad, own_issuer.token(sub=subject())).status == 200
    assert own_issuer.fetches == 1


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": [Issuer.CLIENT]},
        {"aud": ["somebody else", "another"]},
        {"aud": "another", "azp": Issuer.CLIENT},
        {"iss": "issuer.example.org"},
        {"iat": None},
        {"nonce": hashlib.sha256(b"the-nonce").hexdigest()},
        {"iat": ("now", 30)},
    ],
    ids=str,
)
def test_good_tokens_come_in_many_forms(mitrad, issuer, claims):
    assert sign_in(mitrad, issuer.token(sub=subject(), **claims)).status == 200


# The ways that do not lead in


@pytest.mark.parametrize(
    "claims, nonce",
    [
        ({"iss": "https://accounts.example.net"}, "the-nonce"),
        ({"iss": None}, "the-nonce"),
        ({"iss": ""}, "the-nonce"),
        ({"aud": "other-app"}, "the-nonce"),
        ({"aud": Issuer.CLIENT[:-1]}, "the-nonce"),
        ({"aud": f"another, {Issuer.CLIENT}"}, "the-nonce"),
        ({"aud": None}, "the-nonce"),
        ({"aud": []}, "the-nonce"),
        ({"azp": "other-app"}, "the-nonce"),
        ({"azp": 7}, "the-nonce"),
        ({"exp": ("now", -1)}, "the-nonce"),
        ({"exp": None}, "the-nonce"),
        ({"exp": "soon"}, "the-nonce"),
        ({"exp": 4102444800.5}, "the-nonce"),
        ({"iat": ("now", 3600)}, "the-nonce"),
        ({"nbf": ("now", 3600)}, "the-nonce"),
        ({"nonce": None}, "the-nonce"),
        ({}, "another-nonce"),
        ({"nonce": ""}, "the-nonce"),
        ({"sub": None}, "the-nonce"),
        ({"sub": ""}, "the-nonce"),
        ({"sub": "x" * 256}, "the-nonce"),
        ({"sub": 7}, "the-nonce"),
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_refused(mitrad, issuer, claims, nonce):
    # PyJWT itself is particular about the types of some claims.
    header = {"alg": "RS256", "kid": issuer.key.id}
    token = jwt.PyJWS().encode(
        json.dumps(issuer.claims(**{"sub": subject(), **claims})).encode(), issuer.key.private, "RS256", header
    )
    problem_of(sign_in(mitrad, token, nonce=nonce), 401, "ID_TOKEN_INVALID")


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forgeries(issuer):
    good = issuer.token()
    header, payload, signature = good.split(".")
    public = issuer.key.jwk()["n"]
    yield "no token", "abc"
    yield "two parts", f"{header}.{payload}"
    yield "four parts", f"{good}.{signature}"
    yield "no signature", f"{header}.{payload}."
    yield "other payload", f"{header}.{encoded(issuer.claims(sub='admin'))}.{signature}"
    yield "cut signature", good[:-4]
    yield "padded", good + "=="
    yield "none", f"{encoded({'alg': 'none', 'kid': issuer.key.id})}.{payload}."
    yield "HS256 by the public key", issuer.token(algorithm="HS256", secret=public)
    for algorithm in ("RS384", "RS512", "PS256"):
        yield algorithm, issuer.token(algorithm=algorithm)
    yield "foreign key", issuer.token(key=Key(issuer.key.id))
    yield "no kid", ".".join([encoded({"alg": "RS256"}), payload, signature])
    yield "kid is a number", ".".join([encoded({"alg": "RS256", "kid": 1}), payload, signature])
    yield "critical extension", issuer.token(headers={"crit": ["b64"], "b64": True})
    yield "header is no object", ".".join([encoded([1]), payload, signature])
    yield "payload is no object", ".".join([header, encoded("x"), signature])


def test_a_forged_token_is_refused(mitrad, issuer):
    assert sign_in(mitrad, issuer.token(sub=subject())).status == 200
    for name, token in forgeries(issuer):
        answer = sign_in(mitrad, token)
        assert (answer.status, answer.code) == (401, "ID_TOKEN_INVALID"), name


@pytest.mark.parametrize("body, fields", [({}, ["id_token", "nonce"]), ({"id_token": "x"}, ["nonce"])])
def test_token_and_nonce_must_be_there(mitrad, body, fields):
    assert fields_of(problem_of(mitrad.post(GOOGLE, json=body), 400, "INVALID_REQUEST")) == fields


# Keys


def test_keys_are_fetched_once(own_mitrad, own_issuer):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: sign_in(own_mitrad, own_issuer.token(sub=subject())), range(8)))
    assert [answer.status for answer in answers] == [200] * 8
    assert own_issuer.fetches == 1


def test_a_new_key_is_fetched_but_not_for_every_made_up_id(own_mitrad, own_issuer):
    assert sign_in(own_mitrad, own_issuer.token(sub=subject())).status == 200
    rotated = Key("second")
    own_issuer.keys.append(rotated)
    # The set is less than a minute old.
    problem_of(sign_in(own_mitrad, own_issuer.token(key=rotated)), 401, "ID_TOKEN_INVALID")
    for number in range(20):
        forged = own_issuer.token(headers={"kid": f"made-up-{number}"})
        problem_of(sign_in(own_mitrad, forged), 401, "ID_TOKEN_INVALID")
    assert own_issuer.fetches == 1


@pytest.mark.deadline(120)
def test_a_new_key_counts_after_a_minute(own_mitrad, own_issuer, until):
    assert sign_in(own_mitrad, own_issuer.token(sub=subject())).status == 200
    rotated = Key("second")
    own_issuer.keys = [rotated]
    until(lambda: sign_in(own_mitrad, own_issuer.token(key=rotated, sub=subject())).status == 200, 90)
    assert own_issuer.fetches == 2
    # And the old one is gone.
    problem_of(sign_in(own_mitrad, own_issuer.token()), 401, "ID_TOKEN_INVALID")


@pytest.mark.deadline(120)
def test_keys_that_have_expired_count_while_their_provider_is_away(own_mitrad, own_issuer, until):
    own_issuer.cache_control = "max-age=0"
    assert sign_in(own_mitrad, own_issuer.token(sub=subject())).status == 200
    own_issuer.status = 500
    # A set is taken for fresh for a minute, whatever its provider says.
    until(lambda: sign_in(own_mitrad, own_issuer.token(sub=subject())).status == 200 and own_issuer.fetches == 2, 90)
    assert sign_in(own_mitrad, own_issuer.token(sub=subject())).status == 200
    problem_of(sign_in(own_mitrad, own_issuer.token(key=Key("second"))), 503, "PROVIDER_UNAVAILABLE")
    own_mitrad.wait_log("it answered 500")


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"keys": []},
        {"keys": "x"},
        "no JSON",
        [],
        {"keys": [{"kty": "EC", "kid": "first", "crv": "P-256", "x": "AA", "y": "AA"}]},
        {"keys": [7, {}, {"kty": "RSA", "kid": "first", "n": "!!", "e": "AQAB"}]},
        {"keys": [{"kty": "RSA", "kid": "first", "n": "AQAB", "e": "AQAB"}]},
        "x" * 300000,
    ],
    ids=lambda document: str(document)[:40],
)
def test_a_document_without_usable_keys_is_as_if_the_provider_were_away(own_mitrad, own_issuer, document, until):
    own_issuer.document = document
    answer = sign_in(own_mitrad, own_issuer.token())
    assert problem_of(answer, 503, "PROVIDER_UNAVAILABLE")["retry_after_seconds"] > 0
    own_issuer.document = None
    until(lambda: sign_in(own_mitrad, own_issuer.token(sub=subject())).status == 200)


@pytest.mark.parametrize("more", [{"use": "enc"}, {"alg": "RS512"}, {"e": "AQ"}, {"kid": None}], ids=str)
def test_a_key_for_other_purposes_is_none(own_mitrad, own_issuer, more):
    own_issuer.document = {"keys": [own_issuer.key.jwk(**more), Key("other").jwk()]}
    problem_of(sign_in(own_mitrad, own_issuer.token()), 401, "ID_TOKEN_INVALID")


def test_a_key_that_is_too_short_is_none(own_mitrad, own_issuer):
    short = Key("short", bits=1024)
    own_issuer.keys = [short, own_issuer.key]
    problem_of(sign_in(own_mitrad, own_issuer.token(key=short)), 401, "ID_TOKEN_INVALID")


def test_a_redirect_is_not_followed(own_mitrad, own_issuer):
    own_issuer.status = 302
    problem_of(sign_in(own_mitrad, own_issuer.token()), 503, "PROVIDER_UNAVAILABLE")


def test_a_provider_with_a_foreign_certificate_is_not_believed(mitrad_factory, own_issuer):
    mitrad = mitrad_factory(arrangement=CALM, **{**configured(own_issuer), "HTTPS_CA_FILE": None})
    problem_of(sign_in(mitrad, own_issuer.token()), 503, "PROVIDER_UNAVAILABLE")
    assert own_issuer.fetches == 0


def test_a_name_server_that_does_not_answer_holds_up_nobody(mitrad_factory, issuer):
    """The lookup goes on for long after our deadline; libcurl once waited for it, and the event loop with it."""
    mitrad = mitrad_factory(
        arrangement=CALM,
        **{**configured(issuer), "GOOGLE_JWKS_URL": "https://keys.unanswered.example/"},
        LD_PRELOAD=os.path.join(program.build(), "test", "accounts", "slow_names.so"),
        ASAN_OPTIONS=program.environment()["ASAN_OPTIONS"] + ":verify_asan_link_order=0",
    )
    workers, began = mitrad.children()["worker"], time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        signing_in = pool.submit(sign_in, mitrad, issuer.token())
        while not signing_in.done():
            assert mitrad.get("/livez", timeout=10).status == 200
            time.sleep(0.05)
    problem_of(signing_in.result(), 503, "PROVIDER_UNAVAILABLE")
    mitrad.wait_log("Resolving timed out")
    assert time.monotonic() - began < 30
    assert mitrad.get("/livez", timeout=10).status == 200
    assert mitrad.children()["worker"] == workers


# Anonymous customers, and two ways in


def test_an_anonymous_customer_keeps_everything_with_an_identity(mitrad, issuer, anonymous):
    device, who = anonymous(), subject()
    answer = sign_in(mitrad, issuer.token(sub=who, name="Sari"), token=device.access)
    assert answer.json["user"] == {**device.user, "display_name": "Sari"}
    assert sign_in(mitrad, issuer.token(sub=who)).json["user"]["id"] == device.user["id"]


def test_a_second_identity_leads_to_the_same_customer(mitrad, issuer):
    google, apple = subject(), subject()
    first = sign_in(mitrad, issuer.token(sub=google)).json
    second = sign_in(mitrad, issuer.token(sub=apple), APPLE, token=first["access_token"]).json
    assert second["user"]["id"] == first["user"]["id"]
    assert sign_in(mitrad, issuer.token(sub=apple), APPLE).json["user"]["id"] == first["user"]["id"]


def test_an_identity_of_another_customer_stays_his(mitrad, issuer, anonymous):
    who, device = subject(), anonymous()
    owner = sign_in(mitrad, issuer.token(sub=who)).json["user"]
    answer = sign_in(mitrad, issuer.token(sub=who), token=device.access)
    problem_of(answer, 409, "IDENTITY_IN_USE")
    assert sign_in(mitrad, issuer.token(sub=who)).json["user"] == owner


def test_a_customer_has_one_identity_of_a_kind(mitrad, issuer):
    first = sign_in(mitrad, issuer.token(sub=subject())).json
    answer = sign_in(mitrad, issuer.token(sub=subject()), token=first["access_token"])
    problem_of(answer, 409, "IDENTITY_EXISTS")


# What is configured


def test_a_provider_is_listed_and_served_if_it_is_configured(mitrad, mitrad_factory, settings, issuer):
    assert mitrad.get("/api/shared/auth-providers").json == {"providers": ["anonymous", "google", "apple"]}
    google_only = mitrad_factory(**{**settings, "APPLE_CLIENT_IDS": None})
    assert google_only.get("/api/shared/auth-providers").json == {"providers": ["anonymous", "google"]}
    problem_of(sign_in(google_only, issuer.token(), APPLE), 404, "NOT_FOUND")
