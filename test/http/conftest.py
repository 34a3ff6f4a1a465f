"""
What the tests of the HTTP interface share: one calm instance, with a database and a Valkey of its own, for a module.

Here `database`, `valkey` and `mitrad` last that long.  A test makes the people it needs and looks at nobody else's,
so none sees what another left behind; one that needs other settings starts an instance by `mitrad_factory`.
"""

import pytest

from harness import tokens
from harness.mitrad import CALM, Mitrad
from harness.valkey import Valkey

ORIGINS = ["https://cc.example.org", "https://cc.example.net:8443"]


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
def mitrad(database, valkey):
    """A running instance that does nothing by itself, so that what happens is what a request did."""
    settings = {
        "DATABASE_URL": database.url,
        "VALKEY_URL": valkey.url,
        "CC_ORIGIN": ", ".join(ORIGINS),
        "AUTH_JWT_SECRET_PREVIOUS": tokens.PREVIOUS_SECRET,
    }
    instance = Mitrad(settings, arrangement=CALM).start()
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def mirror(valkey):
    """A client of the instance's Valkey, to look at the mirror and to damage it."""
    with valkey.client() as client:
        yield client


@pytest.fixture
def origins():
    """The control centers of the instance's CC_ORIGIN."""
    return ORIGINS


@pytest.fixture
def agent_token():
    """An operator's who is no admin."""
    return tokens.mint("operator", role="agent")


@pytest.fixture
def show(mitrad):
    """show(mitra): has the mirror show what the truth says of him now, after an edit by hand."""

    def show(mitra):
        answer = mitrad.post("/api/mitra/status/online", token=mitra.token)
        assert answer.status == 200, answer

    return show
