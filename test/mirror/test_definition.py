"""
THE definition of available and of reachable stands twice: in SQL, and in C for Valkey (docs/architecture.md).

Here the two are held against each other on some hundred mitras in random states, the edges of each condition among them.
"""

import json
import random

import pytest

from harness.mitrad import CALM
from harness.wait import wait_until

MITRAS = 400
SAMPLE = 40

# One row for each mitra: (is_active, is_online or null for "never was", seconds since heard or null, load).
CREATE = """
WITH wanted AS (
    SELECT gen_random_uuid() AS id, number, active, online, heard_ago, load
    FROM unnest(%s::bool[], %s::bool[], %s::float[], %s::int[])
        WITH ORDINALITY AS state (active, online, heard_ago, load, number)
), made AS (
    INSERT INTO mitras (id, phone, is_active) SELECT id, '+62815' || number, active FROM wanted
), status AS (
    INSERT INTO mitra_online_status (mitra_id, is_online, last_heartbeat_at)
    SELECT id, online, now() - make_interval(secs => heard_ago) FROM wanted WHERE online IS NOT NULL
), customer AS (
    INSERT INTO customers (id, display_name)
    SELECT gen_random_uuid(), wanted.id || ' ' || seat FROM wanted, generate_series(1, load + 1) AS seat
    RETURNING id, display_name
)
INSERT INTO chat_sessions (customer_id, mitra_id, status)
SELECT customer.id, wanted.id,
    CASE WHEN seat > load THEN 'ended' WHEN seat %% 2 = 0 THEN 'active' ELSE 'pending_payment' END
FROM customer
JOIN wanted ON wanted.id::text = split_part(customer.display_name, ' ', 1)
CROSS JOIN LATERAL (SELECT split_part(customer.display_name, ' ', 2)::int AS seat) AS of
"""


def states(chance):
    """Most in the interesting corner: active, online, heard about `stale_after_seconds` ago, about as busy as may be."""
    for _ in range(MITRAS):
        yield (
            chance.random() < 0.9,
            chance.choice([True] * 8 + [False, None]),
            chance.choice([0, 5, 8, 12, 85, 92, 3600, 86390, 86410, 10**8, -30, None]),
            chance.choice([0, 0, 0, 1, 2, 3, 4]),
        )


@pytest.fixture
def ask(mitrad_factory, operator_token):
    instance = mitrad_factory(arrangement=CALM)

    def ask(path, **changes):
        method = "PATCH" if changes else "GET"
        answer = instance.internal.request(
            method, f"/internal/{path}", token=operator_token, json=changes or None
        )
        assert answer.status == 200, answer
        return answer.json

    return ask


def test_sql_and_valkey_find_the_same_mitras_available_and_reachable(mirror, ask):
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    mirror.database.execute(CREATE, *map(list, zip(*states(chance), strict=True)))
    mirror.reseed()
    everybody = [row["id"] for row in mirror.database.rows("SELECT id FROM mitras ORDER BY id")]

    def agree(limits):
        """Asked again if they do not: between the two questions somebody may have gone stale."""
        listed = ask("availability")
        truth = mirror.database.rows("SELECT id, sessions, heartbeat AS last_heartbeat_at FROM mitrad.availability()")
        assert listed == {"source": "valkey", "mitras": truth}
        shown = ask("dashboard")
        numbers = json.loads(mirror.database.value("SELECT answer FROM mitrad.dashboard(NULL, NULL, NULL)"))
        assert (shown.pop("source"), numbers.pop("source")) == ("valkey", "postgres")
        shown.pop("as_of"), numbers.pop("as_of")
        assert shown == numbers
        reachable = {row["id"] for row in mirror.database.rows("SELECT id FROM mitrad.reachable_mitras")}
        for mitra in chance.sample(everybody, SAMPLE):
            answer = ask(f"mitras/{mitra}/reachability")
            assert answer == {"reachable": mitra in reachable, "source": "valkey"}, (mitra, limits)
        return len(truth) or "none"

    counts = []
    for limits in ((3, 90), (1, 90), (4, 10), (100, 86400)):
        ask("config", max_customers_per_mitra=limits[0], stale_after_seconds=limits[1])
        counts.append(wait_until(lambda limits=limits: agree(limits), 60, f"both to agree under {limits}"))
    assert len(set(counts)) == len(counts), "each limit should make a difference"
