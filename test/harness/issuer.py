"""An identity provider as Google and Apple are ones: keys at a URL, and ID tokens that are signed by them."""

import base64
import time

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

from .service import Service


def _base64url(number):
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8, "big")).decode().rstrip("=")


class Key:
    def __init__(self, key_id, bits=2048):
        self.id = key_id
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=bits)

    def jwk(self, **more):
        numbers = self.private.public_key().public_numbers()
        made = {
            **{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.id},
            **{"n": _base64url(numbers.n), "e": _base64url(numbers.e)},
        }
        return {name: value for name, value in {**made, **more}.items() if value is not None}


class Issuer:
    """`keys` are published at `url`; `documents` replaces what is published, `status` how it is answered."""

    NAME = "https://issuer.example.org"
    CLIENT = "the-app.example.org"

    def __init__(self):
        self.key = Key("first")
        self.keys = [self.key]
        self.document = None
        self.status = 200
        self.cache_control = "public, max-age=3600"
        self.service = Service(self._answer)

    @property
    def url(self):
        return f"{self.service.url}/keys"

    @property
    def fetches(self):
        return len(self.service.asked)

    def claims(self, **more):
        """Of a good token; `more` adds some, or takes one away if it is None; ("now", 30) is in 30 s."""
        now = int(time.time())
        made = {
            **{"iss": self.NAME, "aud": self.CLIENT, "sub": "somebody", "nonce": "the-nonce"},
            **{"iat": now, "exp": now + 600},
            **more,
        }
        times = {name: now + value[1] for name, value in made.items() if isinstance(value, tuple)}
        return {name: value for name, value in {**made, **times}.items() if value is not None}

    def token(self, key=None, algorithm="RS256", headers=None, secret=None, **more):
        key = key or self.key
        headers = {"kid": key.id, **(headers or {})}
        return jwt.encode(self.claims(**more), secret or key.private, algorithm=algorithm, headers=headers)

    def stop(self):
        self.service.stop()

    def _answer(self, _asked):
        document = self.document if self.document is not None else {"keys": [key.jwk() for key in self.keys]}
        return self.status, {"Cache-Control": self.cache_control, "Content-Type": "application/json"}, document
