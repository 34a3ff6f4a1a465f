"""Mitras, customers and sessions, put into the database directly: the state that a test starts from."""

import itertools
import uuid
from dataclasses import dataclass

from . import tokens

_numbers = itertools.count(1)


@dataclass
class Person:
    id: str
    user_type: str
    phone: str
    display_name: str

    @property
    def token(self):
        """A good access token."""
        return tokens.mint(self.user_type, self.id)


def make_mitra(database, is_active=True, display_name=None, phone=None):
    """A registered mitra who is offline."""
    number = next(_numbers)
    mitra = Person(str(uuid.uuid4()), "mitra", phone or f"+62812{number:08}", display_name or f"Mitra {number}")
    database.execute(
        "INSERT INTO mitras (id, phone, display_name, is_active) VALUES (%s, %s, %s, %s)",
        *(mitra.id, mitra.phone, mitra.display_name, is_active),
    )
    return mitra


def make_customer(database):
    number = next(_numbers)
    customer = Person(str(uuid.uuid4()), "customer", f"+62813{number:08}", f"Customer {number}")
    database.execute(
        "INSERT INTO customers (id, phone, display_name) VALUES (%s, %s, %s)",
        *(customer.id, customer.phone, customer.display_name),
    )
    return customer


def make_session(database, mitra=None, customer=None, status="active", duration_minutes=30):
    """A chat session, edited in by hand; returns its id.  Each has a customer of its own, who may have one open."""
    customer = customer or make_customer(database)
    return database.value(
        """INSERT INTO chat_sessions
               (customer_id, mitra_id, status, duration_minutes, matched_at, started_at, expires_at)
           SELECT %s, %s, %s, minutes, matched, matched, matched + make_interval(mins => minutes)
           FROM (SELECT %s AS minutes, CASE WHEN %s IN ('active', 'ended') THEN now() END AS matched) AS timing
           RETURNING id""",
        *(customer.id, mitra.id if mitra else None, status, duration_minutes, status),
    )
