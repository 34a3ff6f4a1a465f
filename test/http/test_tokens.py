"""Access tokens: what is accepted, and every way to be refused."""

import time
import uuid

import jwt
import pytest

from harness import program, tokens
from harness.api import problem_of

STATUS = "/api/mitra/status"
HEARTBEAT = "/api/mitra/status/heartbeat"
MITRAS = "/internal/mitras?limit=1"
SOMEBODY = "5c56ac6e-3f08-4545-ba5e-3efcc02b440a"
# The way to be refused does not depend on who one is; the catalogue's names are the same for all ids.
CATALOGUE = list(tokens.bad_tokens("mitra", SOMEBODY))


@pytest.fixture
def authorized(mitrad):
    """authorized(header): GET of a status with that Authorization header."""
    return lambda header: mitrad.get(STATUS, headers={"Authorization": header})


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_bad_token_is_refused_and_changes_nothing(mitrad, online_mitra, mirror, name):
    mitra = online_mitra()
    heard = mirror.get(f"mitra:heartbeat:{mitra.id}")
    token, code = tokens.bad_tokens("mitra", mitra.id)[name]
    for method, path in (("GET", STATUS), ("POST", HEARTBEAT), ("POST", "/api/mitra/status/offline")):
        problem_of(mitrad.request(method, path, token=token), 401, code)
    assert mirror.get(f"mitra:heartbeat:{mitra.id}") == heard
    assert mirror.sismember("mitras:online", mitra.id)


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_internal_listener_refuses_the_same_bad_tokens(mitrad, name):
    token, code = tokens.bad_tokens("operator", str(uuid.uuid4()))[name]
    problem_of(mitrad.internal.get(MITRAS, token=token), 401, code)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": "4102444800"},
        {"exp": 1e300},
        {"exp": True},
        {"exp": [2**40]},
        {"exp": -1},
        {"exp": 2**63},
        {"iat": "now"},
        {"iat": "1.5"},
        {"nbf": 4102444800},
        {"nbf": "1"},
        {"sub": ["a"]},
        {"sub": True},
        {"sub": {}},
        {"sub": "{00000000-0000-0000-0000-000000000000}"},
        {"sub": "00000000-0000-0000-0000-00000000000g"},
        {"sub": "00000000000000000000000000000000"},
        {"sub": "00000000-0000-0000-0000-000000000000 "},
        {"sub": "00000000-0000-0000-0000-000000000000\0"},
        {"session_id": "no uuid"},
        {"session_id": 7},
        {"user_type": "MITRA"},
        {"user_type": ["mitra"]},
        {"user_type": "mitra\0"},
        {"user_type": 1},
    ],
    ids=str,
)
def test_a_claim_of_the_wrong_type_is_refused(mitrad, make_mitra, claims):
    changed = {**tokens.claims("mitra", make_mitra().id), **claims}
    answer = mitrad.get(STATUS, token=jwt.encode(changed, tokens.SECRET))
    problem_of(answer, 401, "TOKEN_EXPIRED" if claims == {"exp": -1} else "UNAUTHENTICATED")


@pytest.mark.parametrize("role", [None, "", "owner", "Admin", 1, ["admin"], "admin\0"])
def test_an_operator_without_a_known_role_is_refused(mitrad, role):
    problem_of(mitrad.internal.get(MITRAS, token=tokens.mint("operator", role=role)), 401, "UNAUTHENTICATED")


def test_a_tokens_times_may_have_a_fraction_of_a_second(mitrad, make_mitra):
    now, mitra = time.time(), make_mitra()
    assert mitrad.get(STATUS, token=tokens.mint("mitra", mitra.id, iat=now, exp=now + 60.5)).status == 200
    problem_of(mitrad.get(STATUS, token=tokens.mint("mitra", mitra.id, exp=now - 60.5)), 401, "TOKEN_EXPIRED")


def test_a_token_is_refused_from_the_second_in_which_it_expires(mitrad, make_mitra):
    mitra = make_mitra()
    problem_of(mitrad.get(STATUS, token=tokens.mint("mitra", mitra.id, ttl=0)), 401, "TOKEN_EXPIRED")
    assert mitrad.get(STATUS, token=tokens.mint("mitra", mitra.id, ttl=60)).status == 200


def test_an_expired_token_with_a_foreign_signature_is_not_called_expired(mitrad):
    token = tokens.mint("mitra", secret=tokens.OTHER_SECRET, ttl=-10)
    problem_of(mitrad.get(STATUS, token=token), 401, "UNAUTHENTICATED")


def test_the_secret_before_the_rotation_is_still_accepted(mitrad, make_mitra):
    mitra = make_mitra()
    old = tokens.mint("mitra", mitra.id, secret=tokens.PREVIOUS_SECRET)
    assert mitrad.get(STATUS, token=old).status == 200
    expired = tokens.mint("mitra", mitra.id, secret=tokens.PREVIOUS_SECRET, ttl=-10)
    problem_of(mitrad.get(STATUS, token=expired), 401, "TOKEN_EXPIRED")
    hs512 = tokens.mint("mitra", mitra.id, secret=tokens.PREVIOUS_SECRET, algorithm="HS512")
    problem_of(mitrad.get(STATUS, token=hs512), 401, "UNAUTHENTICATED")


def test_without_a_previous_secret_nothing_empty_is_accepted(mitrad_factory, make_mitra):
    mitrad = mitrad_factory()
    mitra = make_mitra()
    for secret in ("", tokens.PREVIOUS_SECRET):
        problem_of(mitrad.get(STATUS, token=tokens.mint("mitra", mitra.id, secret=secret)), 401, "UNAUTHENTICATED")
    assert mitrad.get(STATUS, token=mitra.token).status == 200


def test_an_id_in_upper_case_is_the_same_mitra(mitrad, online_mitra, mirror):
    mitra = online_mitra()
    mirror.set(f"mitra:heartbeat:{mitra.id}", "2020-01-01T00:00:00.000Z")
    token = tokens.mint("mitra", mitra.id.upper())
    assert mitrad.post(HEARTBEAT, token=token).json == {"online": True}
    assert mirror.get(f"mitra:heartbeat:{mitra.id}") > "2021"
    assert not mirror.keys(f"*{mitra.id.upper()}")


def test_a_token_needs_no_session_and_no_issue_time(mitrad, make_mitra):
    token = tokens.mint("mitra", make_mitra().id, session_id=None, iat=None)
    assert mitrad.get(STATUS, token=token).status == 200


def test_claims_that_we_do_not_know_are_ignored(mitrad, make_mitra):
    token = tokens.mint("mitra", make_mitra().id, role="admin", aud="anyone", nested={"a": [1, {"b": None}]})
    assert mitrad.get(STATUS, token=token).status == 200


def test_the_longest_token_is_four_kibibytes(mitrad, make_mitra):
    mitra = make_mitra()

    def token_of(padding):
        return tokens.mint("mitra", mitra.id, padding="x" * padding)

    most = next(padding for padding in range(3000, 0, -1) if len(token_of(padding)) <= 4096)
    assert mitrad.get(STATUS, token=token_of(most)).status == 200
    problem_of(mitrad.get(STATUS, token=token_of(most + 3)), 401, "UNAUTHENTICATED")


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer  ", "bEaReR     "])
def test_the_scheme_is_known_in_any_case_and_with_more_spaces(authorized, make_mitra, scheme):
    assert authorized(scheme + make_mitra().token).status == 200


@pytest.mark.parametrize(
    "header",
    [
        *("Basic {}", "{}", "Bearer", "Bearer ", "Bearer\t{}", "Bearer {},", "Bearer: {}", "Token {}"),
        *("Bearer {} x", "Bearer Bearer {}", "Bearer{}"),
    ],
)
def test_another_scheme_is_refused(authorized, make_mitra, header):
    problem_of(authorized(header.format(make_mitra().token)), 401, "UNAUTHENTICATED")


def test_a_refused_caller_learns_what_would_be_accepted(mitrad):
    for token in (None, tokens.mint("mitra", ttl=-10), "nonsense"):
        assert mitrad.get(STATUS, token=token).headers["www-authenticate"] == "Bearer"


def test_an_agent_may_look_but_not_change_the_configuration(mitrad, agent_token):
    assert mitrad.internal.get("/internal/config", token=agent_token).status == 200
    answer = mitrad.internal.patch("/internal/config", token=agent_token, json={"goodbye_seconds": 31})
    problem_of(answer, 403, "FORBIDDEN")


def test_mitras_and_customers_are_no_operators(mitrad, make_mitra, customer_token):
    for token in (make_mitra().token, customer_token(), tokens.mint("mitra", role="admin")):
        problem_of(mitrad.internal.get(MITRAS, token=token), 403, "WRONG_USER_TYPE")


# mitrad token: what deploy/dev prints and operators use by hand.


@pytest.fixture
def issue(mitrad):
    """issue("mitra", ID, …): the finished `mitrad token`."""
    return lambda *arguments, **settings: program.run("token", *arguments, settings={**mitrad.settings, **settings})


@pytest.mark.parametrize(
    "word, claims",
    [
        ("mitra", {"user_type": "mitra"}),
        ("customer", {"user_type": "customer"}),
        ("admin", {"user_type": "operator", "role": "admin"}),
        ("agent", {"user_type": "operator", "role": "agent"}),
    ],
)
def test_what_mitrad_token_prints_is_read_by_others(issue, word, claims):
    who, session = SOMEBODY, str(uuid.uuid4())
    printed = issue(word, who.upper(), "--session", session, "--ttl", "77")
    assert printed.returncode == 0, printed.stderr
    token = printed.stdout.strip()
    read = jwt.decode(token, tokens.SECRET, algorithms=["HS256"])
    assert read.pop("exp") - read["iat"] == 77
    assert abs(read.pop("iat") - time.time()) < 30
    assert read == {"sub": who, "session_id": session, **claims}
    assert jwt.get_unverified_header(token)["alg"] == "HS256"


def test_mitrad_token_is_accepted_by_the_server(mitrad, issue, make_mitra):
    mitra = make_mitra()
    assert mitrad.get(STATUS, token=issue("mitra", mitra.id).stdout.strip()).status == 200
    assert mitrad.internal.get(MITRAS, token=issue("agent", SOMEBODY).stdout.strip()).status == 200


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("mitra",),
        ("mitra", "no-uuid"),
        ("nobody", SOMEBODY),
        ("mitra", SOMEBODY, "--ttl"),
        ("mitra", SOMEBODY, "--ttl", "0"),
        ("mitra", SOMEBODY, "--ttl", "soon"),
        ("mitra", SOMEBODY, "--ttl", "60x"),
        ("mitra", SOMEBODY, "--ttl", "99999999999999999999"),
        ("mitra", SOMEBODY, "--session", "no-uuid"),
        ("mitra", SOMEBODY, "--colour", "red"),
    ],
    ids=" ".join,
)
def test_mitrad_token_says_how_it_wants_to_be_called(issue, arguments):
    printed = issue(*arguments)
    assert printed.returncode == 2 and printed.stdout == ""
    assert "usage: mitrad token" in printed.stderr


def test_mitrad_token_prints_none_without_a_secret(issue):
    printed = issue("mitra", SOMEBODY, AUTH_JWT_SECRET="short")
    assert printed.returncode == 2 and printed.stdout == ""
    assert "AUTH_JWT_SECRET" in printed.stderr
