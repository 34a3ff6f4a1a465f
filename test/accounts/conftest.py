"""What the tests of sign-in share: one calm instance for a module, and the shortest ways to be signed in."""

import hashlib
import secrets
from dataclasses import dataclass

import jwt
import pytest

from harness import tokens
from harness.mitrad import Mitrad
from harness.module_servers import database, mitrad, settings, valkey  # noqa: F401  (fixtures)

REFRESH = "/api/shared/auth/refresh"


@dataclass
class Device:
    """An app that is signed in: what its last tokens were."""

    instance: Mitrad
    tokens: dict

    @property
    def access(self):
        return self.tokens["access_token"]

    @property
    def refresh_token(self):
        return self.tokens["refresh_token"]

    @property
    def user(self):
        return self.tokens["user"]

    @property
    def session_id(self):
        return jwt.decode(self.access, tokens.SECRET, algorithms=["HS256"])["session_id"]

    def refresh(self, token=None):
        return self.instance.post(REFRESH, json={"refresh_token": token or self.refresh_token})

    def refreshed(self):
        """Exchanges the refresh token, as an app does."""
        answer = self.refresh()
        assert answer.status == 200, answer
        self.tokens = answer.json
        return self


@pytest.fixture
def anonymous(mitrad):
    """anonymous(display_name=…): a new customer's device."""

    def make(instance=None, **body):
        answer = (instance or mitrad).post("/api/shared/auth/anonymous", json=body)
        assert answer.status == 201, answer
        return Device(instance or mitrad, answer.json)

    return make


@pytest.fixture
def signed_in(database, mitrad):
    """signed_in(person): a device of that mitra's or customer's, signed in behind the server's back."""

    def make(person):
        token = secrets.token_urlsafe(32)
        session = database.value(
            """INSERT INTO auth_sessions (user_type, user_id, refresh_token_hash, expires_at)
               VALUES (%s, %s, %s, now() + interval '30 days') RETURNING id""",
            *(person.user_type, person.id, hashlib.sha256(token.encode()).hexdigest()),
        )
        access = tokens.mint(person.user_type, person.id, session_id=str(session))
        return Device(mitrad, {"access_token": access, "refresh_token": token})

    return make
