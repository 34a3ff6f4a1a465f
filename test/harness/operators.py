"""Operators put into the database, and the browser in which one signs in at the control center."""

import base64
import hashlib
import http.cookies
import itertools
import os
from dataclasses import dataclass

from . import tokens

ORIGIN = "https://cc.example.org"
USERS = "/internal/control-center-users"
_numbers = itertools.count(1)


def cheap_hash(password):
    """The text form of common/password.h, with other parameters."""
    salt = os.urandom(16)
    key = hashlib.scrypt(password.encode(), salt=salt, n=16, r=8, p=1, dklen=32)
    salt, key = (base64.b64encode(part).decode().rstrip("=") for part in (salt, key))
    return f"$scrypt$ln=4,r=8,p=1${salt}${key}"


@dataclass
class Operator:
    id: str
    email: str
    password: str
    role: str

    @property
    def token(self):
        """A good access token of no session."""
        return tokens.mint("operator", self.id, role=self.role, session_id=None)


class Browser:
    """One that signs in at the control center and keeps its cookie and its access token."""

    def __init__(self, api):
        self.api = api
        self.cookie = None
        self.token = None

    def login(self, operator, password=None):
        body = {"email": operator.email, "password": password or operator.password}
        return self.take(self.api.post("/internal/auth/login", json=body))

    def refresh(self, cookie=None, **headers):
        return self.take(self.api.post("/internal/auth/refresh", headers={**self._cookies(cookie), **headers}))

    def logout(self, **headers):
        return self.take(
            self.api.post("/internal/auth/logout", token=self.token, headers={**self._cookies(), **headers})
        )

    def me(self):
        return self.api.get("/internal/auth/me", token=self.token)

    def take(self, answer):
        """Does what a browser does with an answer."""
        if "set-cookie" in answer.headers:
            self.cookie = cookie_of(answer).value or None
        if answer.status == 200:
            self.token = answer.json["access_token"]
        return answer

    def _cookies(self, cookie=None):
        value = cookie or self.cookie
        return {} if value is None else {"Cookie": f"theme=dark; mitrad_refresh={value}; x=y"}


def cookie_of(answer):
    return http.cookies.SimpleCookie(answer.headers["set-cookie"])["mitrad_refresh"]


def make_operator(database, role="admin", password=None, is_active=True, email=None):
    """One who can sign in.  His password is stored by a scrypt that costs nothing."""
    number = next(_numbers)
    email = email or f"operator{number}@example.com"
    password = password or f"the password of operator {number}"
    made = database.value(
        """INSERT INTO control_center_users (email, password_hash, role, is_active)
           VALUES (%s, %s, %s, %s) RETURNING id""",
        *(email, cheap_hash(password), role, is_active),
    )
    return Operator(made, email, password, role)
