"""A heartbeat that is no time counts as none, by one rule in the script, in the program and in the sweeps."""

from harness.wait import holds_for, wait_until

TIMES = {
    "2026-05-25T10:07:55.123Z": True,
    "2024-02-29T00:00:00.000Z": True,
    "2000-02-29T23:59:59.999Z": True,
    "1970-01-01T00:00:00.000Z": True,
    "2026-99-99T10:00:00.000Z": False,
    "2026-00-10T10:00:00.000Z": False,
    "2026-13-10T10:00:00.000Z": False,
    "2026-01-00T10:00:00.000Z": False,
    "2026-01-32T10:00:00.000Z": False,
    "2026-04-31T10:00:00.000Z": False,
    "2026-02-29T10:00:00.000Z": False,
    "1900-02-29T10:00:00.000Z": False,
    "2026-05-25T24:00:00.000Z": False,
    "2026-05-25T10:60:00.000Z": False,
    "2026-05-25T10:07:60.000Z": False,
    "2026-05-25T10:07:55.123": False,
    "2026-05-25 10:07:55.123Z": False,
    "2026-05-25T10:07:55.123Z\n": False,
    "x": False,
    "": False,
}


def test_the_script_and_the_program_agree_on_what_a_time_is(mirror, make_mitra):
    planted = [(make_mitra(), text) for text in TIMES]
    for mitra, _ in planted:
        mirror.put_online(mitra)
    mirror.database.execute("UPDATE mitra_online_status SET last_heartbeat_at = NULL")
    mirror.reseed()
    for mitra, text in planted:
        mirror.keys.set(f"mitra:heartbeat:{mitra.id}", text)

    missed = mirror.command("diff").stdout
    for mitra, text in planted:
        assert (f"{mitra.id} heartbeat: truth yes, mirror no" not in missed) == TIMES[text], text
    mirror.reseed()
    for mitra, text in planted:
        assert (mirror.heartbeat(mitra) == text) == TIMES[text], text
    assert "the mirror is equal" in mirror.command("verify").stdout


def test_a_planted_heartbeat_that_is_no_time_keeps_nobody_online_nor_going_to_and_fro(
    mirror, listening, make_mitra, sweeper
):
    mitra = make_mitra()
    mirror.put_online(mitra, heard_ago=600)
    mirror.reseed()
    mirror.keys.set(f"mitra:heartbeat:{mitra.id}", "2026-99-99T10:00:00.000Z")

    sweeper(MITRA_AUTO_OFFLINE_SWEEP_SECONDS=1, VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=0)

    wait_until(lambda: not mirror.is_online(mitra), what="the sweep")
    holds_for(lambda: not mirror.is_online(mitra), 3, "the mitra to stay offline")
    wait_until(mirror.equal, what="the mirror to follow")
    logs = mirror.database.rows("SELECT status FROM mitra_online_logs WHERE mitra_id = %s", mitra.id)
    assert logs == [{"status": "offline"}]
