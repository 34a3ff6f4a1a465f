"""The lease: of many sweepers one sweeps; it saves work, and nobody waits long for a successor."""

from harness.wait import holds_for, wait_until


def seeds(instance):
    return len(instance.messages("[valkey-mirror] seed:"))


def run_out(mirror, session):
    mirror.database.execute(
        """UPDATE chat_sessions SET started_at = now() - interval '2 h', expires_at = now() - interval '1 h'
           WHERE id = %s""",
        session,
    )


def pair(sweeper, mirror):
    first = sweeper(VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1)
    wait_until(lambda: mirror.keys.get("sweeper:lease"), what="the lease")
    return first, sweeper(VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1)


def test_of_two_sweepers_only_the_holder_of_the_lease_works(mirror, listening, sweeper):
    first, second = pair(sweeper, mirror)
    wait_until(lambda: seeds(second) == 1, what="that of its start")

    wait_until(lambda: seeds(first) >= 4, what="periodic reseeds")

    assert seeds(second) == 1


def test_a_sweeper_that_stops_hands_the_lease_over_at_once(mirror, listening, sweeper):
    first, second = pair(sweeper, mirror)
    held = mirror.keys.get("sweeper:lease")

    first.stop()

    assert mirror.keys.get("sweeper:lease") != held
    wait_until(lambda: seeds(second) >= 3, what="the other to take over")


def test_a_sweeper_that_dies_is_succeeded_within_the_life_of_its_lease(mirror, listening, sweeper):
    first, second = pair(sweeper, mirror)

    first.kill()

    wait_until(lambda: seeds(second) >= 3, what="the other to take over")


def test_a_killed_sweeper_is_replaced_and_its_work_taken_up(mirror, listening, sweeper, make_mitra):
    instance = sweeper(VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1)

    instance.kill_sweeper()
    mirror.put_online(make_mitra())

    wait_until(mirror.equal, what="its work")


def test_without_valkey_overdue_sessions_still_end(mirror, valkey, listening, make_mitra, make_session, sweeper):
    sweeper()
    valkey.stop()
    session = make_session(make_mitra())
    run_out(mirror, session)

    wait_until(
        lambda: mirror.database.value("SELECT status FROM chat_sessions WHERE id = %s", session) == "ended",
        what="its end",
    )


def test_the_load_of_a_mitra_whose_session_ran_out_is_shown(mirror, listening, make_mitra, make_session, sweeper):
    mitra = make_mitra()
    session = make_session(mitra)
    sweeper()
    assert mirror.shown()[mitra.id][2] == 1

    run_out(mirror, session)

    wait_until(lambda: mirror.shown()[mitra.id][2] == 0, what="the load")


def test_term_in_the_middle_of_a_reseed_ends_it_and_the_process(mirror, valkey, proxy_factory, make_mitra, sweeper):
    for _ in range(10):
        mirror.put_online(make_mitra())
    proxy = proxy_factory(valkey)
    instance = sweeper(
        VALKEY_URL=valkey.url_through(proxy), VALKEY_TIMEOUT_MS=5000, VALKEY_ONLINE_MIRROR_SWEEP_SECONDS=1
    )
    proxy.slow(0.1)
    wait_until(lambda: mirror.keys.keys("mirror:seed:*"), what="a reseed under way")

    instance.stop()  # asserts exit 0 in time
    holds_for(lambda: not mirror.keys.exists("sweeper:lease"), 0.2, "the lease is free")
