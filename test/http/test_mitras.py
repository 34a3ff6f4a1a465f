"""What operators see and change of mitras."""

import itertools
import uuid

import pytest

from harness import tokens
from harness.api import fields_of, problem_of

MITRAS = "/internal/mitras"
NOBODY = "11111111-2222-4333-8444-555555555555"
HEARTBEAT = "/api/mitra/status/heartbeat"


@pytest.fixture
def operator(mitrad, operator_token):
    """operator("PATCH", path, json=…): a request of an admin's."""
    return lambda method, path, **more: mitrad.internal.request(method, path, token=operator_token, **more)


@pytest.fixture
def patch(operator):
    return lambda mitra, **changes: operator("PATCH", f"{MITRAS}/{mitra.id}", json=changes)


@pytest.fixture
def logs(operator):
    """logs(mitra): "offline deactivated", …, newest first, by the API."""

    def logs(mitra):
        answer = operator("GET", f"{MITRAS}/{mitra.id}/online-logs")
        return [f"{log['status']} {log['reason']}" for log in answer.json["logs"]]

    return logs


@pytest.fixture
def named(make_mitra):
    """named(count): (a word, that many mitras whose names hold it), oldest first."""

    def named(count, **more):
        word = f"w{uuid.uuid4().hex}"
        return word, [make_mitra(display_name=f"Mitra {word} {number}", **more) for number in range(count)]

    return named


# Creating


def test_a_new_mitra_is_active_offline_and_without_a_load(operator, mirror):
    answer = operator("POST", MITRAS, json={"phone": "0812 9990 0001", "display_name": " Sari "})
    assert answer.status == 201
    document = answer.json
    mitra, created_at = document.pop("id"), document.pop("created_at")
    assert created_at.endswith("Z")
    assert document == {
        "phone": "+6281299900001",
        "display_name": "Sari",
        "is_active": True,
        "online": False,
        "online_since": None,
        "last_heartbeat_at": None,
        "active_sessions": 0,
    }
    assert operator("GET", f"{MITRAS}/{mitra}").json == {"id": mitra, "created_at": created_at, **document}
    assert not mirror.sismember("mitras:deactivated", mitra)


def test_a_phone_belongs_to_one_mitra(operator, make_mitra, database):
    mitra = make_mitra()
    answer = operator("POST", MITRAS, json={"phone": mitra.phone, "display_name": "Another"})
    problem_of(answer, 409, "PHONE_IN_USE")
    assert database.value("SELECT display_name FROM mitras WHERE phone = %s", mitra.phone) == mitra.display_name


def test_an_agent_may_create_and_deactivate(mitrad, agent_token, make_mitra):
    body = {"phone": "+6281299900002", "display_name": "Of an agent"}
    assert mitrad.internal.post(MITRAS, token=agent_token, json=body).status == 201
    path = f"{MITRAS}/{make_mitra().id}"
    assert mitrad.internal.patch(path, token=agent_token, json={"is_active": False}).status == 200


@pytest.mark.parametrize("method, path", [("GET", ""), ("PATCH", ""), ("GET", "/online-logs")])
def test_a_mitra_who_does_not_exist_is_not_found(operator, method, path):
    body = {"json": {"is_active": False}} if method == "PATCH" else {}
    problem_of(operator(method, f"{MITRAS}/{NOBODY}{path}", **body), 404, "NOT_FOUND")


# The list


def test_pages_show_every_mitra_once_newest_first(operator, named):
    word, mitras = named(7)
    seen, cursor = [], ""
    for _ in range(10):
        page = operator("GET", f"{MITRAS}?q={word}&limit=3{cursor}").json
        seen += [mitra["id"] for mitra in page["mitras"]]
        if page["next_cursor"] is None:
            break
        assert len(page["mitras"]) == 3
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [mitra.id for mitra in reversed(mitras)]


def test_mitras_of_the_same_moment_are_all_on_some_page(operator, named, database):
    word, mitras = named(6)
    database.execute("UPDATE mitras SET created_at = '2026-01-01' WHERE display_name LIKE %s", f"%{word}%")
    first = operator("GET", f"{MITRAS}?q={word}&limit=4").json
    second = operator("GET", f"{MITRAS}?q={word}&limit=4&cursor={first['next_cursor']}").json
    seen = [mitra["id"] for mitra in first["mitras"] + second["mitras"]]
    assert sorted(seen) == sorted(mitra.id for mitra in mitras) and second["next_cursor"] is None


def test_the_list_is_filtered_by_online_and_active(operator, named, online_mitra):
    word, (offline,) = named(1)
    _, (gone,) = named(1, is_active=False)
    there = online_mitra(display_name=f"There {word}")

    def found(query):
        return {mitra["id"] for mitra in operator("GET", f"{MITRAS}?limit=200&{query}").json["mitras"]}

    assert found(f"q={word}") == {offline.id, there.id}
    assert found(f"q={word}&online=true") == {there.id}
    assert found(f"q={word}&online=false") == {offline.id}
    assert found(f"q={word}&online=true&active=false") == set()
    assert gone.id in found("active=false") and gone.id not in found("active=true")


@pytest.mark.parametrize(
    "name, typed, found",
    [
        ("Dewi Ayu {}", "dewi ayu {}", True),
        ("50% {}", "50%25 {}", True),
        ("500 {}", "50%25 {}", False),
        ("a_b {}", "a_b {}", True),
        ("axb {}", "a_b {}", False),
        ("back\\slash {}", "back%5Cslash {}", True),
        ("山田 {}", "%E5%B1%B1%E7%94%B0 {}", True),
        ("O'Brien {}", "o'brien {}", True),
    ],
)
def test_a_name_is_found_by_any_part_as_it_is_written(operator, make_mitra, name, typed, found):
    word = uuid.uuid4().hex
    mitra = make_mitra(display_name=name.format(word))
    answer = operator("GET", f"{MITRAS}?q={typed.format(word).replace(' ', '+')}")
    assert [one["id"] for one in answer.json["mitras"]] == ([mitra.id] if found else [])


def test_a_phone_is_found_as_people_type_it(operator, make_mitra):
    mitra = make_mitra(phone="+6281355512345")
    for typed in ("081355512345", "0813-555-12", "%2B62813555123", "62813555", "5551234"):
        answer = operator("GET", f"{MITRAS}?q={typed}")
        assert mitra.id in [one["id"] for one in answer.json["mitras"]], typed


# Changing


def test_a_new_name_changes_nothing_else(operator, patch, online_mitra, logs):
    mitra = online_mitra()
    before = operator("GET", f"{MITRAS}/{mitra.id}").json
    answer = patch(mitra, display_name="Baru")
    assert answer.status == 200
    assert answer.json == {**before, "display_name": "Baru"}
    assert logs(mitra) == ["online manual"]


@pytest.mark.parametrize(
    "changes, field",
    [
        ({}, ""),
        ({"is_active": "false"}, "is_active"),
        ({"is_active": None}, "is_active"),
        ({"is_active": 0}, "is_active"),
        ({"display_name": ""}, "display_name"),
        ({"is_active": False, "phone": "+6281200000000"}, "phone"),
        ({"is_active": False, "online": False}, "online"),
    ],
    ids=str,
)
def test_a_change_that_is_not_valid_changes_nothing(operator, patch, online_mitra, changes, field):
    mitra = online_mitra()
    before = operator("GET", f"{MITRAS}/{mitra.id}").json
    assert fields_of(problem_of(patch(mitra, **changes), 400, "INVALID_REQUEST")) == [field]
    assert operator("GET", f"{MITRAS}/{mitra.id}").json == before


def auth_session(database, user_type, user_id):
    return database.value(
        """INSERT INTO auth_sessions (user_type, user_id, refresh_token_hash, expires_at)
           VALUES (%s, %s, gen_random_uuid(), now() + interval '1 day') RETURNING id""",
        *(user_type, user_id),
    )


def test_a_deactivation_takes_offline_logs_and_revokes_every_sign_in(
    patch, online_mitra, make_mitra, database, mirror, logs, mitrad
):
    mitra, other = online_mitra(), make_mitra()
    sessions = [auth_session(database, "mitra", mitra.id) for _ in range(3)]
    untouched = [auth_session(database, "mitra", other.id), auth_session(database, "customer", mitra.id)]
    answer = patch(mitra, is_active=False)
    assert answer.status == 200
    assert (answer.json["is_active"], answer.json["online"], answer.json["online_since"]) == (False, False, None)
    assert logs(mitra) == ["offline deactivated", "online manual"]
    revoked = database.rows("SELECT id FROM auth_sessions WHERE revoked_at IS NOT NULL AND user_id = %s", mitra.id)
    assert sorted(row["id"] for row in revoked) == sorted(sessions)
    kept = database.rows("SELECT id FROM auth_sessions WHERE revoked_at IS NULL")
    assert set(untouched) <= {row["id"] for row in kept}
    assert mirror.sismember("mitras:deactivated", mitra.id)
    assert not mirror.sismember("mitras:online", mitra.id)
    assert mirror.get(f"mitra:heartbeat:{mitra.id}") is None
    problem_of(mitrad.post(HEARTBEAT, token=mitra.token), 403, "ACCOUNT_INACTIVE")


def test_a_deactivation_again_changes_nothing(patch, online_mitra, logs):
    mitra = online_mitra()
    first = patch(mitra, is_active=False)
    assert patch(mitra, is_active=False).json == first.json
    assert logs(mitra) == ["offline deactivated", "online manual"]


def test_the_deactivation_of_one_who_is_offline_logs_nothing(patch, make_mitra, logs, mitrad):
    mitra = make_mitra()
    assert patch(mitra, is_active=False).status == 200
    assert logs(mitra) == []
    problem_of(mitrad.post(HEARTBEAT, token=mitra.token), 403, "ACCOUNT_INACTIVE")


def test_who_is_activated_again_is_offline_and_may_come_back(patch, online_mitra, mitrad, mirror):
    mitra = online_mitra()
    patch(mitra, is_active=False)
    answer = patch(mitra, is_active=True)
    assert answer.json["is_active"] is True and answer.json["online"] is False
    assert not mirror.sismember("mitras:deactivated", mitra.id)
    assert mitrad.post(HEARTBEAT, token=mitra.token).json == {"online": False}
    assert mitrad.post("/api/mitra/status/online", token=mitra.token).json["online"] is True
    assert mitrad.post(HEARTBEAT, token=mitra.token).json == {"online": True}


def test_a_session_from_before_the_deactivation_takes_no_chats_any_more(patch, online_mitra, database, mitrad):
    mitra = online_mitra()
    token = tokens.mint("mitra", mitra.id, session_id=str(auth_session(database, "mitra", mitra.id)))
    patch(mitra, is_active=False)
    patch(mitra, is_active=True)
    problem_of(mitrad.post("/api/mitra/status/online", token=token), 401, "UNAUTHENTICATED")


# Logs


def test_online_logs_are_paged_newest_first(operator, make_mitra, mitrad):
    mitra = make_mitra()
    for verb in ("online", "offline") * 3:
        assert mitrad.post(f"/api/mitra/status/{verb}", token=mitra.token).status == 200
    first = operator("GET", f"{MITRAS}/{mitra.id}/online-logs?limit=4").json
    second = operator("GET", f"{MITRAS}/{mitra.id}/online-logs?limit=4&cursor={first['next_cursor']}").json
    logs = first["logs"] + second["logs"]
    assert [log["status"] for log in logs] == ["offline", "online"] * 3
    assert all(log.keys() == {"id", "status", "reason", "created_at"} for log in logs)
    assert all(later["created_at"] >= sooner["created_at"] for later, sooner in itertools.pairwise(logs))
    assert len({log["id"] for log in logs}) == 6 and second["next_cursor"] is None


# The test route


def test_seeding_a_mitra_twice_makes_one(mitrad, database):
    body = {"phone": "0812-8880-0001", "display_name": "Seeded"}
    first, second = (mitrad.internal.post("/internal/_test/seed-mitra", json=body) for _ in range(2))
    assert (first.status, second.status) == (200, 200)
    assert first.json["phone"] == "+6281288800001"
    assert second.json == first.json
    assert database.value("SELECT count(*) FROM mitras WHERE phone = '+6281288800001'") == 1


def test_seeding_leaves_a_mitra_who_exists_as_he_is(mitrad, make_mitra):
    mitra = make_mitra(is_active=False, display_name="As before")
    body = {"phone": mitra.phone, "display_name": "Seeded"}
    answer = mitrad.internal.post("/internal/_test/seed-mitra", json=body)
    assert answer.status == 200
    assert (answer.json["id"], answer.json["display_name"], answer.json["is_active"]) == (mitra.id, "As before", False)


@pytest.mark.parametrize("enabled", [0, None])
def test_the_test_route_is_not_there_unless_it_is_enabled(mitrad_factory, enabled):
    mitrad = mitrad_factory(ENABLE_TEST_ROUTES=enabled, WORKERS=1)
    body = {"phone": "+6281288800002", "display_name": "Seeded"}
    for api in (mitrad.internal, mitrad.public):
        problem_of(api.post("/internal/_test/seed-mitra", json=body), 404, "NOT_FOUND")
        for method in ("GET", "OPTIONS"):
            problem_of(api.request(method, "/internal/_test/seed-mitra"), 404, "NOT_FOUND")
