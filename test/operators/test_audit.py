"""The record of what operators change: complete, in the change's own transaction, append-only, without secrets."""

import itertools
import uuid

import psycopg2
import pytest

from harness.api import fields_of, problem_of
from harness.operators import USERS

AUDIT = "/internal/audit"
_phones = itertools.count(1)


@pytest.fixture
def admin(make_operator):
    return make_operator("admin")


@pytest.fixture
def change(mitrad, admin, audited):
    """change(method, path, body): as an admin; the answer, and what is recorded of it (without the plainly formal)."""

    def change(method, path, body):
        request_id = f"audit-{uuid.uuid4()}"
        answer = mitrad.internal.request(
            method, path, token=admin.token, json=body, headers={"X-Request-Id": request_id}
        )
        rows = audited(request_id)
        for row in rows:
            assert (row["actor_id"], row["actor_email"]) == (admin.id, admin.email)
        return answer, [
            tuple(row[column] for column in ("action", "entity", "entity_id", "before", "after")) for row in rows
        ]

    return change


def new_phone():
    return f"+62814{next(_phones):08}"


def test_a_new_mitra_is_recorded(change):
    phone = new_phone()
    answer, recorded = change("POST", "/internal/mitras", {"phone": phone, "display_name": "Ani"})
    assert answer.status == 201
    after = {"phone": phone, "display_name": "Ani", "is_active": True}
    assert recorded == [("mitra.create", "mitra", answer.json["id"], None, after)]


def test_a_changed_mitra_is_recorded_with_before_and_after(change, make_mitra):
    mitra = make_mitra(display_name="Ani")
    _, recorded = change("PATCH", f"/internal/mitras/{mitra.id}", {"display_name": "Budi", "is_active": False})
    before = {"phone": mitra.phone, "display_name": "Ani", "is_active": True}
    after = {"phone": mitra.phone, "display_name": "Budi", "is_active": False}
    assert recorded == [("mitra.update", "mitra", mitra.id, before, after)]


def test_a_changed_configuration_is_recorded_by_its_changed_keys(change, set_config):
    set_config(goodbye_seconds=30, stale_after_seconds=90)
    patch = {"goodbye_seconds": 41, "stale_after_seconds": 90, "payment_timing": "none"}
    answer, recorded = change("PATCH", "/internal/config", patch)
    assert answer.status == 200
    assert recorded == [("config.update", "config", None, {"goodbye_seconds": 30}, {"goodbye_seconds": 41})]


def test_operators_are_recorded(change):
    email = f"{uuid.uuid4()}@example.com"
    answer, recorded = change("POST", USERS, {"email": email, "role": "agent"})
    made, as_agent = answer.json["id"], {"email": email, "role": "agent", "is_active": True}
    assert recorded == [("operator.create", "operator", made, None, as_agent)]
    _, recorded = change("PATCH", f"{USERS}/{made}", {"role": "admin", "is_active": False})
    after = {"email": email, "role": "admin", "is_active": False}
    assert recorded == [("operator.update", "operator", made, as_agent, after)]


def test_passwords_are_recorded_without_themselves(change, admin, make_operator, database):
    operator = make_operator("agent")
    secrets = ["set by the admin, long", "changed by himself, long"]
    _, recorded = change("POST", f"{USERS}/{operator.id}/password", {"new_password": secrets[0]})
    assert recorded == [("operator.password_reset", "operator", operator.id, None, None)]
    body = {"current_password": admin.password, "new_password": secrets[1]}
    _, recorded = change("POST", f"{USERS}/me/password", body)
    assert recorded == [("operator.password_change", "operator", admin.id, None, None)]
    made, _ = change("POST", USERS, {"email": f"{uuid.uuid4()}@example.com", "role": "agent"})
    everything = database.value("SELECT json_agg(o)::text FROM operator_actions o")
    for secret in (*secrets, made.json["password"], admin.password, "$scrypt$"):
        assert secret not in everything


def test_what_changes_nothing_is_not_recorded(change, make_mitra, make_operator, mitrad, operator_token):
    mitra, operator = make_mitra(display_name="Ani"), make_operator("agent")
    config = mitrad.internal.get("/internal/config", token=operator_token).json
    unchanged = [
        ("PATCH", f"/internal/mitras/{mitra.id}", {"display_name": "Ani", "is_active": True}, 200),
        ("PATCH", f"{USERS}/{operator.id}", {"role": "agent", "is_active": True}, 200),
        ("PATCH", "/internal/config", config, 200),
        ("PATCH", "/internal/config", {"goodbye_seconds": 77, "no_such_key": 1}, 400),
        ("POST", "/internal/mitras", {"phone": mitra.phone, "display_name": "Ani"}, 409),
        ("POST", USERS, {"email": operator.email, "role": "agent"}, 409),
        ("POST", f"{USERS}/{operator.id}/password", {"new_password": "short"}, 400),
        ("PATCH", f"/internal/mitras/{uuid.uuid4()}", {"is_active": True}, 404),
    ]
    for method, path, body, status in unchanged:
        answer, recorded = change(method, path, body)
        assert (answer.status, recorded) == (status, []), (method, path, answer)


def test_a_token_of_nobody_is_recorded_by_its_id(mitrad, operator_token, database):
    answer = mitrad.internal.post(
        "/internal/mitras", token=operator_token, json={"phone": new_phone(), "display_name": "Ani"}
    )
    row = database.one("SELECT * FROM operator_actions WHERE entity_id = %s", answer.json["id"])
    assert row["actor_email"] is None and row["request_id"] == answer.headers["x-request-id"]


def test_the_test_route_is_nobodys_change(mitrad, database):
    body = {"phone": new_phone(), "display_name": "Ani"}
    made = mitrad.internal.post("/internal/_test/seed-mitra", json=body).json["id"]
    assert database.value("SELECT count(*) FROM operator_actions WHERE entity_id = %s", made) == 0


def test_a_change_that_is_undone_leaves_no_record(database, make_mitra):
    mitra, actor = make_mitra(), str(uuid.uuid4())
    connection = database.connect()
    connection.autocommit = False
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT mitrad.mitra_update(%s, '{\"is_active\": false}', (%s::uuid, null, 'undone')::mitrad.actor)",
            (mitra.id, actor),
        )
    connection.rollback()
    connection.close()
    assert database.value("SELECT count(*) FROM operator_actions WHERE actor_id = %s", actor) == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE operator_actions SET after = '{}'",
        "UPDATE operator_actions SET after = '{}' WHERE false",
        "DELETE FROM operator_actions",
        "TRUNCATE operator_actions",
        "INSERT INTO operator_actions SELECT * FROM operator_actions LIMIT 1 ON CONFLICT (id) DO UPDATE SET action = ''",
    ],
)
@pytest.mark.parametrize("role", ["mitrad", "postgres"])
def test_nobody_changes_what_is_recorded(change, database, statement, role):
    change("POST", "/internal/mitras", {"phone": new_phone(), "display_name": "Ani"})
    before = database.rows("SELECT * FROM operator_actions ORDER BY id")
    connection = psycopg2.connect(database.postgres.url(database.name, role))
    with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection.cursor() as cursor:
        cursor.execute(statement)
    connection.close()
    assert database.rows("SELECT * FROM operator_actions ORDER BY id") == before


# Reading it


@pytest.fixture
def listed(mitrad, admin):
    """listed("entity=mitra&limit=3"): every page of it, joined."""

    def pages(query):
        cursor, actions = "", []
        while cursor is not None:
            answer = mitrad.internal.get(f"{AUDIT}?{query}{cursor and '&cursor=' + cursor}", token=admin.token)
            assert answer.status == 200, answer
            actions += answer.json["actions"]
            cursor = answer.json["next_cursor"]
        return actions

    return pages


def test_an_admin_reads_the_record_newest_first_page_by_page(change, listed, admin, database):
    for _ in range(5):
        change("POST", "/internal/mitras", {"phone": new_phone(), "display_name": "Ani"})
    wanted = [r["id"] for r in database.rows("SELECT id FROM operator_actions ORDER BY created_at DESC, id DESC")]
    assert [action["id"] for action in listed("limit=2")] == wanted
    newest = listed("limit=200")[0]
    assert newest.keys() == {
        *("id", "created_at", "actor_id", "actor_email", "action", "entity", "entity_id", "before", "after"),
        "request_id",
    }
    assert newest["actor_email"] == admin.email and newest["after"]["display_name"] == "Ani"
    assert newest["created_at"].endswith("Z")


def test_the_record_is_found_by_actor_and_by_entity(change, listed, admin, make_mitra):
    mitra = make_mitra()
    change("PATCH", f"/internal/mitras/{mitra.id}", {"display_name": "Budi"})
    change("POST", USERS, {"email": f"{uuid.uuid4()}@example.com", "role": "agent"})
    assert [a["action"] for a in listed(f"actor={admin.id}")] == ["operator.create", "mitra.update"]
    assert [a["action"] for a in listed(f"actor={admin.id.upper()}&entity=mitra")] == ["mitra.update"]
    assert [a["action"] for a in listed(f"entity=mitra&entity_id={mitra.id}")] == ["mitra.update"]
    assert listed(f"actor={uuid.uuid4()}") == []
    assert listed("entity=nothing") == []


@pytest.mark.parametrize(
    "query, field",
    [("actor=me", "actor"), ("cursor=x", "cursor"), ("limit=0", "limit"), ("entity=" + "x" * 41, "entity")],
)
def test_a_query_that_makes_no_sense_is_refused(mitrad, admin, query, field):
    document = problem_of(mitrad.internal.get(f"{AUDIT}?{query}", token=admin.token), 400, "INVALID_REQUEST")
    assert fields_of(document) == [field]
