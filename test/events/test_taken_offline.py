"""A mitra who is taken offline by others hears of it at once, not with his next heartbeat."""

from datetime import datetime, timedelta, timezone

from harness.wait import wait_until

from .conftest import Listener

LONG_AGO = timedelta(hours=1)
SOON_SECONDS = 20  # far below the wait of 25, far above what it takes


def iso(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def told(poll):
    """What the poll was answered with, as (type, data)."""
    return [(event["type"], event["data"]) for event in poll.result(SOON_SECONDS).json["events"]]


def test_by_a_deactivation(instance, online_mitra, operator_token, waiting):
    mitra = online_mitra(instance)
    poll = waiting(instance, Listener("mitra", mitra.id), known=1)
    answer = instance.internal.patch(
        f"/internal/mitras/{mitra.id}", token=operator_token, json={"is_active": False})
    assert answer.status == 200 and answer.json["is_active"] is False
    assert told(poll) == [("status_changed", {"online": False, "reason": "deactivated"})]


def test_by_a_sweep(mitrad_factory, online_mitra, waiting, database, valkey):
    instance = mitrad_factory(WORKERS=1)
    mitra = online_mitra(instance)
    poll = waiting(instance, Listener("mitra", mitra.id), known=1)
    # As if an hour had gone by, in which everybody could have been heard.
    long_ago = datetime.now(timezone.utc) - LONG_AGO
    database.execute(
        "UPDATE mitra_online_status SET online_since = %s, last_heartbeat_at = %s WHERE mitra_id = %s",
        long_ago, long_ago, mitra.id)
    with valkey.client() as keys, keys.pipeline() as at_once:
        at_once.set(f"mitra:heartbeat:{mitra.id}", iso(long_ago))
        for key in ("mirror:alive", "mirror:stamped"):  # whoever sees them differ stamps everybody
            at_once.set(key, iso(long_ago), keepttl=True)
        at_once.execute()
    wait_until(poll.done, SOON_SECONDS, "the sweep to be told")
    assert told(poll) == [("status_changed", {"online": False, "reason": "auto_offline"})]
