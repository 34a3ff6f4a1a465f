"""What operators do with mitras: create, list, change, read the logs."""

import json
import uuid

import pytest


def answer(row):
    assert row["problem"] is None, row
    return json.loads(row["answer"])


def pages(call, function, *arguments, key, size, cursor_at):
    """Every id, page by page, following the cursors."""
    seen, cursor = [], None
    while True:
        asked = list(arguments)
        asked[cursor_at:cursor_at] = [cursor, size]
        page = answer(call(function, *asked))
        assert len(page[key]) <= size
        seen += [item["id"] for item in page[key]]
        cursor = page["next_cursor"]
        if cursor is None:
            return seen
        assert len(page[key]) == size


def test_a_new_mitra_is_active_offline_and_idle(call):
    row = call("mitra_create", "+628111", "Ani")
    mitra = answer(row)
    assert mitra.pop("id") == row["mitra_id"]
    assert mitra.pop("created_at").endswith("Z")
    assert mitra == {
        "phone": "+628111", "display_name": "Ani", "is_active": True, "online": False, "online_since": None,
        "last_heartbeat_at": None, "active_sessions": 0}
    assert (row["version"], row["online"], row["active"], row["sessions"]) == (1, False, True, 0)
    assert answer(call("mitra_get", row["mitra_id"]))["phone"] == "+628111"


def test_a_phone_belongs_to_one_mitra(call, database):
    call("mitra_create", "+628111", "Ani")
    assert call("mitra_create", "+628111", "Budi")["problem"] == "PHONE_IN_USE"
    assert database.value("SELECT count(*) FROM mitras") == 1


def test_two_who_create_one_phone_at_once_make_one_mitra(rival):
    one, other = rival(), rival()
    assert one.call("mitra_create", "+628111", "Ani")[0]["problem"] is None
    other.begin_call("mitra_create", "+628111", "Ani")
    one.commit()
    assert other.result()[0]["problem"] == "PHONE_IN_USE"


def test_seeding_twice_gives_the_same_mitra_and_changes_nothing(call, database):
    first = call("mitra_seed", "+628111", "Ani")
    assert call("mitra_seed", "+628111", "Budi") == first
    database.execute("UPDATE mitras SET is_active = false")
    assert answer(call("mitra_seed", "+628111", "Ani"))["is_active"] is False


def test_an_unknown_mitra_is_not_found(call):
    nobody = str(uuid.uuid4())
    assert call("mitra_get", nobody)["problem"] == "NOT_FOUND"
    assert call("mitra_update", nobody, '{"is_active": false}')["problem"] == "NOT_FOUND"
    assert call("mitra_online_logs", nobody, None, 10)["problem"] == "NOT_FOUND"


def test_a_patch_changes_what_it_names_only(call, make_mitra):
    mitra = make_mitra(display_name="Ani")
    assert answer(call("mitra_update", mitra.id, '{"display_name": "Budi"}'))["is_active"] is True
    changed = answer(call("mitra_update", mitra.id, '{"is_active": false}'))
    assert (changed["display_name"], changed["is_active"]) == ("Budi", False)
    assert answer(call("mitra_update", mitra.id, "{}")) == changed


def test_a_deactivation_takes_offline_logs_it_and_revokes_every_sign_in(call, database, make_mitra, go_online):
    mitra, other = go_online(make_mitra()), make_mitra()
    database.execute(
        """INSERT INTO auth_sessions (user_type, user_id, refresh_token_hash, expires_at)
           VALUES ('mitra', %(m)s, 'a', now()), ('mitra', %(m)s, 'b', now()), ('mitra', %(o)s, 'c', now()),
                  ('customer', %(m)s, 'd', now())""" % {"m": f"'{mitra.id}'", "o": f"'{other.id}'"})
    row = call("mitra_update", mitra.id, '{"is_active": false}')
    assert (row["online"], row["active"]) == (False, False)
    told = {"event_user_type": "mitra", "event_user_id": mitra.id, "event": row["event"]}
    assert '"deactivated"' in row["event"] and told.items() <= row.items()
    revoked = database.rows("SELECT refresh_token_hash FROM auth_sessions WHERE revoked_at IS NOT NULL ORDER BY 1")
    assert [r["refresh_token_hash"] for r in revoked] == ["a", "b"]

    when = database.rows("SELECT revoked_at FROM auth_sessions ORDER BY refresh_token_hash")
    assert call("mitra_update", mitra.id, '{"is_active": false}') == {**row, **dict.fromkeys(told)}, "told once"
    assert database.rows("SELECT revoked_at FROM auth_sessions ORDER BY refresh_token_hash") == when
    logged = "SELECT count(*) FROM mitra_online_logs WHERE mitra_id = %s AND reason = 'deactivated'"
    assert database.value(logged, mitra.id) == 1


def test_a_deactivation_of_one_who_is_offline_logs_nothing(call, database, make_mitra):
    mitra = make_mitra()
    call("mitra_update", mitra.id, '{"is_active": false}')
    assert database.value("SELECT count(*) FROM mitra_online_logs") == 0


def test_an_activation_brings_nobody_online(call, make_mitra, go_online):
    mitra = go_online(make_mitra())
    call("mitra_update", mitra.id, '{"is_active": false}')
    row = call("mitra_update", mitra.id, '{"is_active": true}')
    assert (row["online"], row["active"]) == (False, True)


@pytest.mark.parametrize("size", [1, 3, 7, 8, 100])
def test_the_list_has_everyone_once_newest_first(call, database, make_mitra, size):
    for _ in range(8):
        make_mitra()
    # Four of one microsecond, and others a microsecond apart: neither may hide or repeat any.
    database.execute("UPDATE mitras SET created_at = timestamptz '2026-01-01 00:00:00.000001+00'")
    database.execute(
        """UPDATE mitras m SET created_at = m.created_at + o.i * interval '1 microsecond'
           FROM (SELECT id, row_number() OVER () AS i FROM mitras LIMIT 4) o WHERE o.id = m.id""")
    wanted = [r["id"] for r in database.rows("SELECT id FROM mitras ORDER BY created_at DESC, id DESC")]
    assert pages(call, "mitra_list", None, None, None, key="mitras", size=size, cursor_at=3) == wanted


def test_paging_neither_repeats_nor_skips_when_mitras_are_added_meanwhile(call, make_mitra):
    old = [make_mitra().id for _ in range(4)]
    page = answer(call("mitra_list", None, None, None, None, 2))
    make_mitra()
    rest = answer(call("mitra_list", None, None, None, page["next_cursor"], 10))
    assert [m["id"] for m in page["mitras"] + rest["mitras"]] == old[::-1]


def test_the_filters_of_the_list(call, make_mitra, go_online):
    online, offline, gone = go_online(make_mitra()), make_mitra(), make_mitra(is_active=False)

    def listed(is_online, is_active):
        found = answer(call("mitra_list", None, is_online, is_active, None, 10))["mitras"]
        return {mitra["id"] for mitra in found}

    assert listed(True, None) == {online.id}
    assert listed(False, None) == {offline.id, gone.id}
    assert listed(None, False) == {gone.id}
    assert listed(False, True) == {offline.id}


@pytest.mark.parametrize("typed, found", [
    ("ani", ["Ani 1%"]),
    ("%", ["Ani 1%"]),
    ("_", ["Bu_di"]),
    ("\\", ["Back\\slash"]),
    ("0812 3456", ["Ani 1%"]),
    ("+62812-3456", ["Ani 1%"]),
    ("62812", ["Ani 1%", "Bu_di"]),
    ("9999", ["Bu_di"]),
    ("0", []),
    ("nobody", []),
])
def test_the_search_finds_names_and_phones_as_people_type_them(call, typed, found):
    call("mitra_create", "+628123456000", "Ani 1%")
    call("mitra_create", "+628129999000", "Bu_di")
    call("mitra_create", "+6285555", "Back\\slash")
    listed = answer(call("mitra_list", typed, None, None, None, 10))["mitras"]
    assert sorted(m["display_name"] for m in listed) == found


@pytest.mark.parametrize("cursor", [
    "", "x", "abcde", "////", "MSAyLTM", "ÿ", "%00", "a b",
    # "99999999999999999 …", "9999999999999999 …" (no timestamp so late), "1 zzzzzzzz-…"
    "OTk5OTk5OTk5OTk5OTk5OTkgMTE", "MSB6enp6enp6ei16enp6LXp6enotenp6ei16enp6enp6enp6eno",
])
def test_a_cursor_that_is_none_is_an_invalid_request(call, make_mitra, cursor):
    for row in (call("mitra_list", None, None, None, cursor, 10),
                call("mitra_online_logs", make_mitra().id, cursor, 10)):
        assert row["problem"] == "INVALID_REQUEST"
        assert json.loads(row["errors"])[0]["field"] == "cursor"


def test_the_logs_are_paged_newest_first(call, database, make_mitra):
    mitra = make_mitra()
    for _ in range(3):
        call("mitra_go_online", mitra.id, None)
        call("mitra_go_offline", mitra.id)
    database.execute("UPDATE mitra_online_logs SET created_at = '2026-01-01' WHERE status = 'online'")
    wanted = [r["id"] for r in database.rows("SELECT id FROM mitra_online_logs ORDER BY created_at DESC, id DESC")]
    assert len(wanted) == 6
    for size in (1, 2, 3, 4, 6, 10):
        assert pages(call, "mitra_online_logs", mitra.id, key="logs", size=size, cursor_at=1) == wanted
    first = answer(call("mitra_online_logs", mitra.id, None, 1))["logs"][0]
    assert set(first) == {"id", "status", "reason", "created_at"}
    assert (first["status"], first["reason"]) == ("offline", "manual")
