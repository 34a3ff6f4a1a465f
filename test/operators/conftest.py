"""
What the tests of operators share: one calm instance for a module, operators in it, and a browser that keeps the cookie.

Every test makes the operators it needs.  Their passwords are stored by a scrypt that costs nothing, so that a test
waits for the program and not for the arithmetic; what the program itself stores is as slow as it should be.
"""

import pytest

from harness import operators
from harness.module_servers import database as plain_database, mitrad, valkey  # noqa: F401  (fixtures)
from harness.operators import Browser


@pytest.fixture(scope="module")
def database(plain_database):
    # All operators of the suite come from one address.
    plain_database.execute("UPDATE app_config SET value = '100000' WHERE key = 'rate_login_per_minute'")
    return plain_database


@pytest.fixture(scope="module")
def settings():
    return {"CC_ORIGIN": operators.ORIGIN}


@pytest.fixture
def make_operator(database):
    """make_operator(role="admin", password=…, is_active=True): one who can sign in."""
    return lambda role="admin", **more: operators.make_operator(database, role, **more)


@pytest.fixture
def browser(mitrad):
    return Browser(mitrad.internal)


@pytest.fixture
def browse(mitrad):
    """browse(): another browser."""
    return lambda: Browser(mitrad.internal)


@pytest.fixture
def signed_in(make_operator, browse):
    """signed_in(role="admin"): an operator, and the browser in which he is signed in."""

    def sign_in(role="admin"):
        operator, browser = make_operator(role), browse()
        assert browser.login(operator).status == 200
        return operator, browser

    return sign_in


@pytest.fixture
def audited(database):
    """audited(request_id): what was recorded of that request, oldest first."""
    return lambda request_id: database.rows(
        "SELECT * FROM operator_actions WHERE request_id = %s ORDER BY created_at", request_id
    )


@pytest.fixture
def set_config(database, mitrad, operator_token):
    """set_config(key=value, …): until the end of the test."""
    before = mitrad.internal.get("/internal/config", token=operator_token).json

    def change(**values):
        assert mitrad.internal.patch("/internal/config", token=operator_token, json=values).status == 200

    yield change
    change(**before)
