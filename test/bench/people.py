"""
The mitras that the work is about.  The n-th has the same id everywhere, so that the program's database, the peer's and
Valkey agree on who there is.
"""

import base64
import datetime
import hashlib
import hmac
import json
import time
import uuid

from harness import tokens

HEADER = base64.urlsafe_b64encode(b'{"alg":"HS256","typ":"JWT"}').rstrip(b"=")

# SQL for the id of the n-th; mitra_id() must agree with it.
SQL_ID = "md5('mitra ' || n)::uuid"

FILL_TRUTH = f"""
INSERT INTO mitras (id, phone, display_name)
	SELECT {SQL_ID}, '+62' || (8120000000 + n), 'Mitra ' || n FROM generate_series(%s::bigint, %s::bigint - 1) n;
INSERT INTO mitra_online_status (mitra_id, is_online, online_since, last_heartbeat_at)
	SELECT {SQL_ID}, true, now(), now() FROM generate_series(%s::bigint, %s::bigint - 1) n
"""


def mitra_id(number):
    return str(uuid.UUID(hashlib.md5(f"mitra {number}".encode()).hexdigest()))


def token(user_type, user_id, **claims):
    """An access token as the program issues them.  Made by hand: there are ten thousands of them to make."""
    now = int(time.time())
    claims = {
        "sub": user_id,
        "user_type": user_type,
        "session_id": str(uuid.uuid4()),
        "iat": now,
        "exp": now + 86400,
        **claims,
    }
    payload = base64.urlsafe_b64encode(json.dumps(claims, separators=(",", ":")).encode()).rstrip(b"=")
    signed = HEADER + b"." + payload
    signature = hmac.new(tokens.SECRET.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def fill_truth(database, first, end, online_until):
    """Mitras first…end-1, of whom those before `online_until` are online.  As a bulk load: no trigger, no index upkeep is measured."""
    connection = database.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET session_replication_role = replica")
            cursor.execute(FILL_TRUTH, (first, end, first, online_until))
            cursor.execute("ANALYZE mitras, mitra_online_status")
    finally:
        connection.close()


def fill_mirror(client, end, online_until):
    """The same in Valkey, for who has nobody to seed it."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    pipeline = client.pipeline(transaction=False)
    for number in range(end):
        member = mitra_id(number)
        pipeline.set(f"mitra:capacity:{member}", "0")
        if number < online_until:
            pipeline.sadd("mitras:online", member)
            pipeline.set(f"mitra:heartbeat:{member}", now)
        if number % 1000 == 999:
            pipeline.execute()
    pipeline.execute()
