"""Access tokens: those that the program must accept, and the catalogue of those that it must not."""

import base64
import json
import time
import uuid

import jwt

SECRET = "a-secret-of-the-test-suite-that-is-long-enough-for-hs256"
PREVIOUS_SECRET = "the-secret-of-the-test-suite-before-that-one-was-rotated-in"
OTHER_SECRET = "another-secret-of-the-test-suite-long-enough-for-hs256-too"


def claims(user_type, user_id=None, ttl=3600, **more):
    """The claims of a good token; `more` adds some, or takes one away if it is None."""
    now = int(time.time())
    made = {
        "sub": str(user_id or uuid.uuid4()),
        "user_type": user_type,
        "session_id": str(uuid.uuid4()),
        "iat": now,
        "exp": now + ttl,
    }
    if user_type == "operator":
        made["role"] = "admin"
    made.update(more)
    return {name: value for name, value in made.items() if value is not None}


def mint(user_type, user_id=None, secret=SECRET, algorithm="HS256", headers=None, **more):
    """A signed token; what it takes further goes to claims()."""
    return jwt.encode(claims(user_type, user_id, **more), secret, algorithm=algorithm, headers=headers)


def unsigned(user_type, user_id=None, algorithm="none"):
    """A token that asks to be believed without a signature."""
    return f"{_encoded({'alg': algorithm, 'typ': 'JWT'})}.{_encoded(claims(user_type, user_id))}."


def bad_tokens(user_type, user_id):
    """{name: (token, code)}: every way to be refused with 401, and the code of the answer."""
    good = mint(user_type, user_id)
    header, payload, signature = good.split(".")
    elsewhere = _encoded(claims(user_type, uuid.uuid4()))
    bad = {
        "empty": "",
        "not a token": "abc",
        "two parts": f"{header}.{payload}",
        "four parts": f"{good}.{signature}",
        "no signature": f"{header}.{payload}.",
        "signature of another token": f"{header}.{elsewhere}.{signature}",
        "cut short": good[:-4],
        "not base64": f"{header}.{payload}.!!!!",
        "payload is no JSON": f"{header}.{base64.urlsafe_b64encode(b'hello').decode().rstrip('=')}.{signature}",
        "foreign signature": mint(user_type, user_id, secret=OTHER_SECRET),
        "empty key": mint(user_type, user_id, secret=""),
        "alg none": unsigned(user_type, user_id),
        "alg NONE": unsigned(user_type, user_id, "NONE"),
        "alg HS256 without signature": unsigned(user_type, user_id, "HS256"),
        "alg HS384": mint(user_type, user_id, algorithm="HS384"),
        "alg HS512": mint(user_type, user_id, algorithm="HS512"),
        "no sub": mint(user_type, sub=None),
        "sub is no UUID": mint(user_type, sub="42"),
        "sub is a number": mint(user_type, sub=42),
        "sub is empty": mint(user_type, sub=""),
        "no user_type": mint(None, user_id),
        "unknown user_type": mint("admin", user_id),
        "no exp": mint(user_type, user_id, exp=None),
        "exp is text": mint(user_type, user_id, exp="2099"),
        "longer than 4 KiB": mint(user_type, user_id, padding="x" * 5 * 1024),
    }
    refused = {name: (token, "UNAUTHENTICATED") for name, token in bad.items()}
    refused["expired"] = (mint(user_type, user_id, ttl=-10), "TOKEN_EXPIRED")
    return refused


def _encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
