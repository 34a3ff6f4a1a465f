"""What the tests of pairing share: asking as a customer, a mitra or an operator, and the invariants of it all."""

import itertools
import uuid

import pytest

from harness import people, program, tokens
from harness.wait import wait_until

# Whatever happened, none of these may ever find a row.
IMPOSSIBLE = {
    "an active session without a mitra or a time": """
        SELECT id FROM chat_sessions WHERE status = 'active'
            AND (mitra_id IS NULL OR started_at IS NULL OR expires_at IS NULL OR matched_at IS NULL)""",
    "a searching session with a mitra": "SELECT id FROM chat_sessions WHERE status = 'searching' AND mitra_id IS NOT NULL",
    "a finished session without an end": """
        SELECT id FROM chat_sessions WHERE status IN ('ended', 'cancelled', 'unmatched')
            AND (ended_at IS NULL OR end_reason IS NULL)""",
    "an open session with an end": """
        SELECT id FROM chat_sessions WHERE status IN ('pending_payment', 'searching', 'active') AND ended_at IS NOT NULL""",
    "an open session without a deadline": """
        SELECT id FROM chat_sessions WHERE status IN ('pending_payment', 'searching', 'active') AND due_at IS NULL""",
    "an open offer of a session that does not search": """
        SELECT session_id FROM chat_request_notifications n JOIN chat_sessions c ON c.id = n.session_id
        WHERE n.status = 'sent' AND c.status <> 'searching'""",
    "an open extension or payment of a session that is over": """
        SELECT c.id FROM chat_sessions c WHERE c.status IN ('ended', 'cancelled', 'unmatched') AND (
            EXISTS (SELECT FROM session_extensions x WHERE x.session_id = c.id
                AND x.status IN ('requested', 'pending_payment'))
            OR EXISTS (SELECT FROM payments p WHERE p.session_id = c.id AND p.status = 'pending'))""",
    "two winners in one round": """
        SELECT session_id FROM chat_request_notifications WHERE status = 'accepted'
        GROUP BY session_id, round HAVING count(*) > 1""",
    "a mitra with more sessions than allowed": """
        SELECT mitra_id FROM chat_sessions WHERE status IN ('active', 'pending_payment') AND mitra_id IS NOT NULL
        GROUP BY mitra_id HAVING count(*) > mitrad.config_integer('max_customers_per_mitra')""",
    "a mitra with more open offers than allowed": """
        SELECT mitra_id FROM chat_request_notifications WHERE status = 'sent'
        GROUP BY mitra_id HAVING count(*) > mitrad.config_integer('offers_per_mitra_max')""",
    "a gap in somebody's events": """
        SELECT c.user_id FROM user_event_counters c
        LEFT JOIN user_events e USING (user_type, user_id)
        GROUP BY c.user_type, c.user_id, c.last_seq
        HAVING count(e.seq) <> c.last_seq OR coalesce(max(e.seq), 0) <> c.last_seq OR coalesce(min(e.seq), 1) <> 1""",
}


class Service:
    """Everybody's side of pairing, through one or several instances in turn."""

    def __init__(self, database, instances):
        self.database = database
        self.instances = instances
        self.turn = itertools.cycle(instances)
        self.operator = tokens.mint("operator")
        self.crowded = 0

    @property
    def instance(self):
        return next(self.turn)

    def mitra(self, online=True):
        mitra = people.make_mitra(self.database)
        if online:
            self.go_online(mitra)
        return mitra

    def crowd(self, count):
        """That many mitras, online in truth and mirror; none of them beats, and none is taken for silent because of it."""
        self.configure(stale_after_seconds=86400)
        mitras = [people.Person(str(uuid.uuid4()), "mitra", f"+62899{number:08}", f"Mitra {number}")
            for number in range(self.crowded, self.crowded + count)]
        self.crowded += count
        ids, phones = [mitra.id for mitra in mitras], [mitra.phone for mitra in mitras]
        self.database.execute(
            """INSERT INTO mitras (id, phone, display_name)
               SELECT id, phone, phone FROM unnest(%s::uuid[], %s::text[]) AS m (id, phone)""", ids, phones)
        self.database.execute(
            """INSERT INTO mitra_online_status (mitra_id, is_online, online_since, last_heartbeat_at)
               SELECT id, true, now(), now() FROM unnest(%s::uuid[]) id""", ids)
        settings = {"DATABASE_URL": self.database.url, "VALKEY_URL": self.instances[0].settings["VALKEY_URL"]}
        program.run("reseed", settings=settings, check=True)
        return mitras

    def go_online(self, mitra):
        answer = self.instance.post("/api/mitra/status/online", token=mitra.token)
        assert answer.status == 200, answer
        return mitra

    def customer(self):
        return people.make_customer(self.database)

    def create(self, customer=None, minutes=30):
        """The answer to a customer's wish."""
        customer = customer or self.customer()
        return self.instance.post(
            "/api/client/sessions", token=customer.token, json={"duration_minutes": minutes}
        )

    def search(self, customer=None, minutes=30):
        """A new session's document, with its `customer`."""
        customer = customer or self.customer()
        answer = self.create(customer, minutes)
        assert answer.status == 201, answer
        return {**answer.json, "customer": customer}

    def of_customer(self, session, action=None, json=None):
        """GET of the customer's session, or a POST of an action on it."""
        path = f"/api/client/sessions/{session['id']}"
        if action is None:
            return self.instance.get(path, token=session["customer"].token)
        return self.instance.post(f"{path}/{action}", token=session["customer"].token, json=json)

    def of_mitra(self, mitra, session, action=None):
        path = f"/api/mitra/sessions/{session['id']}"
        if action is None:
            return self.instance.get(path, token=mitra.token)
        return self.instance.post(f"{path}/{action}", token=mitra.token)

    def by_operator(self, session, action, json=None):
        return self.instance.internal.post(
            f"/internal/sessions/{session['id']}/{action}", token=self.operator, json=json
        )

    def confirm(self, payment):
        return self.instance.internal.post(f"/internal/payments/{payment['id']}/confirm", token=self.operator)

    def requests(self, mitra):
        """The ids of the sessions that are offered to the mitra."""
        answer = self.instance.get("/api/mitra/requests", token=mitra.token)
        assert answer.status == 200, answer
        return [request["session_id"] for request in answer.json["requests"]]

    def accept(self, mitra, session):
        return self.instance.post(f"/api/mitra/requests/{session['id']}/accept", token=mitra.token)

    def decline(self, mitra, session):
        return self.instance.post(f"/api/mitra/requests/{session['id']}/decline", token=mitra.token)

    def pair(self, mitra=None, minutes=30):
        """(mitra, session): a chat under way."""
        mitra = mitra or self.mitra()
        session = self.search(minutes=minutes)
        wait_until(lambda: session["id"] in self.requests(mitra), what="the offer")
        answer = self.accept(mitra, session)
        assert answer.status == 200, answer
        return mitra, {**answer.json, "customer": session["customer"]}

    def configure(self, **values):
        answer = self.instance.internal.patch("/internal/config", token=self.operator, json=values)
        assert answer.status == 200, answer

    # The truth

    def impossible(self):
        """What is wrong with it just now: {what: ids}.  In no moment there may be anything."""
        found = {what: self.database.rows(sql) for what, sql in IMPOSSIBLE.items()}
        return {what: rows for what, rows in found.items() if rows}

    def row(self, session):
        return self.database.one("SELECT * FROM chat_sessions WHERE id = %s", session["id"])

    def status(self, session):
        return self.database.value("SELECT status FROM chat_sessions WHERE id = %s", session["id"])

    def events(self, person, session=None):
        """The types of the person's events, in their order."""
        rows = self.database.rows(
            """SELECT type FROM user_events WHERE user_type = %s AND user_id = %s
               AND (%s IS NULL OR session_id = %s::uuid) ORDER BY seq""",
            *(person.user_type, person.id, session and session["id"], session and session["id"]),
        )
        return [row["type"] for row in rows]

    def event(self, person, type):
        """The data of the person's last event of that type."""
        rows = self.database.rows(
            "SELECT data FROM user_events WHERE user_id = %s AND type = %s ORDER BY seq", person.id, type
        )
        assert rows, f"no event {type}"
        return rows[-1]["data"]

    def move(self, session, column, seconds):
        """Puts a time of the session so many seconds away from now, as if it had been so from the beginning."""
        self.database.execute(
            f"UPDATE chat_sessions SET {column} = now() + make_interval(secs => %s) WHERE id = %s",
            *(seconds, session["id"]),
        )


def impossible(database):
    """What is wrong with the truth: {what: ids}."""
    found = {what: database.rows(sql) for what, sql in IMPOSSIBLE.items()}
    return {what: rows for what, rows in found.items() if rows}


@pytest.fixture
def nothing_impossible(database, valkey):
    """nothing_impossible(): the truth is consistent, and the mirror, once it has had its time, is equal to it."""

    def check():
        assert impossible(database) == {}
        settings = {"DATABASE_URL": database.url, "VALKEY_URL": valkey.url}
        wait_until(
            lambda: program.run("mirror", "verify", settings=settings).returncode == 0, 60, "the mirror to be equal"
        )

    return check


@pytest.fixture
def service(database, mitrad_factory):
    """One instance with two workers, long periods of everything but the deadlines."""
    return Service(database, [mitrad_factory(MITRA_AUTO_OFFLINE_SWEEP_SECONDS=3600)])


@pytest.fixture
def two_instances(database, mitrad_factory):
    """Two instances on the same servers, asked in turn.  No reseed by the clock mends what they miss."""
    settings = {"MITRA_AUTO_OFFLINE_SWEEP_SECONDS": 3600, "VALKEY_ONLINE_MIRROR_SWEEP_SECONDS": 0}
    return Service(database, [mitrad_factory(**settings), mitrad_factory(**settings)])


@pytest.fixture
def calm(database, calm_mitrad):
    """An instance that does nothing by itself but meet deadlines."""
    return Service(database, [calm_mitrad])
