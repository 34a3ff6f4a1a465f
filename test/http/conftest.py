"""What the tests of the HTTP interface share: one calm instance for a module, and looks at its mirror."""

import pytest

from harness import tokens
from harness.module_servers import database, mitrad, valkey  # noqa: F401  (fixtures)

ORIGINS = ["https://cc.example.org", "https://cc.example.net:8443"]


@pytest.fixture(scope="module")
def settings():
    return {"CC_ORIGIN": ", ".join(ORIGINS), "AUTH_JWT_SECRET_PREVIOUS": tokens.PREVIOUS_SECRET}


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
