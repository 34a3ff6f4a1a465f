"""
Fixtures for a folder whose tests share one calm instance, with a database and a Valkey of its own, for a module: its conftest
imports them, and they stand in place of those that last for a test.

A test makes the people it needs and looks at nobody else's, so none sees what another left behind; one that needs other
settings starts an instance by `mitrad_factory`.
"""

import pytest

from .mitrad import CALM, Mitrad
from .valkey import Valkey


@pytest.fixture(scope="module")
def database(shared_postgres):
    made = shared_postgres.ensure_running().create_database()
    yield made
    shared_postgres.ensure_running()
    made.drop()


@pytest.fixture(scope="module")
def valkey():
    server = Valkey().start()
    yield server
    server.ensure_running().stop()


@pytest.fixture(scope="module")
def settings():
    """What the instance needs besides its servers; a folder or a module that needs something has a fixture of this name."""
    return {}


@pytest.fixture(scope="module")
def mitrad(database, valkey, settings):
    """A running instance that does nothing by itself, so that what happens is what a request did."""
    instance = Mitrad({"DATABASE_URL": database.url, "VALKEY_URL": valkey.url, **settings}, arrangement=CALM).start()
    yield instance
    instance.stop()
