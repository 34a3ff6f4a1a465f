"""
The fixtures of all tests.

One PostgreSQL and one Valkey per pytest worker last for the session; every test gets a database of its own (a copy of
a migrated one) and a Valkey that was emptied.  A test may stop, kill or pause either server: the next test finds it
repaired.  `mitrad` is a running instance on both; `mitrad_factory` starts others, with other settings.
"""

import signal

import pytest

from harness import people, tokens
from harness.mitrad import CALM, Mitrad
from harness.postgres import Postgres
from harness.proxy import Proxy
from harness.valkey import Valkey
from harness.wait import wait_until


# No test hangs the suite; one that needs longer says so: @pytest.mark.deadline(600).
DEADLINE_SECONDS = 240


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): how long the test may take at most")


@pytest.fixture(autouse=True)
def deadline(request):
    mark = request.node.get_closest_marker("deadline")
    seconds = mark.args[0] if mark else DEADLINE_SECONDS

    def too_late(_number, _frame):
        raise TimeoutError(f"the test took longer than {seconds} s")

    signal.signal(signal.SIGALRM, too_late)
    signal.alarm(seconds)
    yield
    signal.alarm(0)


@pytest.fixture(scope="session")
def shared_postgres():
    server = Postgres()
    yield server
    server.ensure_running().stop()


@pytest.fixture(scope="session")
def shared_valkey():
    server = Valkey().start()
    yield server
    server.ensure_running().stop()


@pytest.fixture
def postgres(shared_postgres):
    """The private cluster, running."""
    return shared_postgres.ensure_running()


@pytest.fixture
def database(postgres):
    """A migrated Database of the test's own."""
    made = postgres.create_database()
    yield made
    postgres.ensure_running()
    made.drop()


@pytest.fixture
def valkey(shared_valkey):
    """The private Valkey, running, empty and with the settings it began with."""
    if shared_valkey.running():
        shared_valkey.stop()
    shared_valkey.forget()
    return shared_valkey.start()


@pytest.fixture
def valkey_factory():
    """valkey_factory(password=…, tls=…, options=…): further Valkey servers, started."""
    made = []

    def make(**options):
        made.append(Valkey(**options).start())
        return made[-1]

    yield make
    for server in made:
        server.ensure_running().stop()


@pytest.fixture
def proxy_factory():
    """proxy_factory(server): a Proxy in front of a Valkey or PostgreSQL server."""
    made = []

    def make(server):
        made.append(Proxy(server.port))
        return made[-1]

    yield make
    for proxy in made:
        proxy.stop()


@pytest.fixture
def mitrad_factory(request, database, valkey):
    """
    mitrad_factory(NAME=value, …): a running instance on this test's servers, or on others by DATABASE_URL and
    VALKEY_URL.  `arrangement=CALM` for one whose sweeper does nothing by itself; `start=False` to start it yourself.
    Every instance must stop gracefully at the end of the test.
    """
    made = []

    def make(*arguments, arrangement=None, start=True, **settings):
        servers = {"DATABASE_URL": database.url, "VALKEY_URL": valkey.url}
        instance = Mitrad({**servers, **settings}, arguments, arrangement)
        made.append(instance)
        return instance.start() if start else instance

    yield make
    # Shown by pytest only if the test failed.
    for instance in made:
        if instance.process is not None or instance.public is not None:
            print(f"--- log of mitrad on port {instance.public.port}\n{instance.log_tail()}")
    _stop_all(made)


def _stop_all(instances):
    """Stops each, though another fails to; then fails for the first that did."""
    failures = []
    for instance in instances:
        try:
            instance.stop()
        except AssertionError as failure:
            failures.append(failure)
    if failures:
        raise failures[0]


@pytest.fixture
def mitrad(mitrad_factory):
    """A running instance with small periods."""
    return mitrad_factory()


@pytest.fixture
def calm_mitrad(mitrad_factory):
    """A running instance whose sweeper does nothing by itself."""
    return mitrad_factory(arrangement=CALM)


@pytest.fixture
def make_mitra(database):
    """make_mitra(is_active=True, …): a registered mitra, offline."""
    return lambda **more: people.make_mitra(database, **more)


@pytest.fixture
def make_customer(database):
    return lambda: people.make_customer(database)


@pytest.fixture
def make_session(database):
    """make_session(mitra, customer=None, status="active"): a session put into the table by hand."""
    return lambda mitra=None, **more: people.make_session(database, mitra, **more)


@pytest.fixture
def online_mitra(request, make_mitra, database):
    """
    online_mitra(instance=None): a mitra who went online through `instance` (default: the `mitrad` fixture), and whom
    the mirror shows.
    """

    def make(instance=None, **more):
        instance = instance or request.getfixturevalue("mitrad")
        mitra = make_mitra(**more)
        answer = instance.post("/api/mitra/status/online", token=mitra.token)
        assert answer.status == 200, answer
        return mitra

    return make


@pytest.fixture
def operator_token():
    """An admin's."""
    return tokens.mint("operator")


@pytest.fixture
def mitra_token():
    """mitra_token(id): a good token for that mitra."""
    return lambda user_id=None, **more: tokens.mint("mitra", user_id, **more)


@pytest.fixture
def customer_token():
    return lambda user_id=None, **more: tokens.mint("customer", user_id, **more)


@pytest.fixture
def until():
    """until(predicate, seconds=30, what="…"): waits for a condition."""
    return wait_until
