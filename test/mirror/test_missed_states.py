"""States that a worker could not write: promised to somebody, missing in the mirror, and yet never believed for long."""

import contextlib
import datetime
import signal
import threading
import time

import pytest

from harness.mitrad import CALM

HEARTBEAT = "/api/mitra/status/heartbeat"
DOUBT_SECONDS = 0.8  # for which nobody believes a mirror that is back


@pytest.fixture
def two_instances(mitrad_factory, proxy_factory, valkey):
    """One that reaches Valkey directly, and one through a proxy; neither reseeds by the clock."""
    proxy = proxy_factory(valkey)
    settings = {"WORKERS": 1, "VALKEY_ONLINE_MIRROR_SWEEP_SECONDS": 0}
    near = mitrad_factory(arrangement=CALM, **settings)
    far = mitrad_factory(arrangement=CALM, VALKEY_URL=valkey.url_through(proxy), **settings)
    return near, far, proxy


def test_a_deactivation_that_missed_the_mirror_is_known_everywhere_once_its_worker_has_valkey_back(
    mirror, two_instances, online_mitra, operator_token, mitra_token, until
):
    near, far, proxy = two_instances
    mitra = online_mitra(near)
    token = mitra_token(mitra.id)
    assert near.post(HEARTBEAT, token=token).status == 200

    proxy.refuse()
    proxy.cut()
    until(lambda: far.get("/readyz").json["valkey"] == "down")
    answer = far.internal.patch(f"/internal/mitras/{mitra.id}", token=operator_token, json={"is_active": False})
    assert answer.status == 200
    assert mirror.keys.sismember("mitras:online", mitra.id), "the mirror knows nothing of it yet"
    generation = mirror.keys.get("mirror:generation")

    proxy.forward()
    until(lambda: near.post(HEARTBEAT, token=token).status == 403)
    until(lambda: mirror.keys.get("mirror:generation") not in (None, generation))
    until(mirror.equal)


def at(line):
    """When a line was logged."""
    return datetime.datetime.fromisoformat(line["time"].replace("Z", "+00:00")).timestamp()


def test_after_an_outage_the_mirror_is_not_believed_before_everybody_could_say_what_it_lacks(
    mirror, two_instances, online_mitra, operator_token, until
):
    near, far, proxy = two_instances
    online_mitra(near)
    reachable = "/internal/availability"

    proxy.cut()
    proxy.refuse()
    until(lambda: far.internal.get(reachable, token=operator_token).json["source"] == "postgres")
    proxy.forward()
    until(lambda: far.internal.get(reachable, token=operator_token).json["source"] == "valkey")
    believed = time.time()
    up = [at(line) for line in far.log_lines() if line["process"] == "worker-0" and "[valkey] up again" in line["message"]]
    assert believed - max(when for when in up if when < believed) > DOUBT_SECONDS - 0.05


def test_a_state_that_failed_during_a_reseed_is_not_hidden_by_its_end(mirror, make_mitra, sweeper, until):
    mitra = make_mitra()
    mirror.put_online(mitra)
    sweeper()
    until(mirror.equal)

    # What a worker leaves that could not write: the next reseed must not bring this generation back by itself.
    mirror.keys.set("mirror:dirty", 1)
    mirror.keys.delete("mirror:generation")

    until(lambda: mirror.keys.get("mirror:generation") and not mirror.keys.exists("mirror:dirty"))
    assert mirror.equal()


def test_what_a_dead_instance_could_not_write_is_known_to_the_others_soon(
    mirror, two_instances, online_mitra, operator_token, mitra_token, until
):
    near, far, proxy = two_instances
    mitra = online_mitra(near)
    proxy.refuse()
    proxy.cut()
    until(lambda: far.get("/readyz").json["valkey"] == "down")
    answer = far.internal.patch(f"/internal/mitras/{mitra.id}", token=operator_token, json={"is_active": False})
    assert answer.status == 200
    far.kill()
    assert not mirror.equal(), "nobody has told the mirror"
    until(mirror.equal)
    assert near.post(HEARTBEAT, token=mitra_token(mitra.id)).status == 403


def writers(mirror):
    return set(mirror.keys.zrange("mirror:writers", 0, -1))


@pytest.mark.parametrize("end", ["is killed", "gives up"])
def test_a_worker_that_does_not_finish_its_drain_is_missed(
    mirror, two_instances, online_mitra, operator_token, database, until, end
):
    near, far, _ = two_instances
    until(lambda: len(writers(mirror)) == 4)  # a worker and a sweeper each
    mitra = online_mitra(near)

    def deactivate():
        with contextlib.suppress(OSError):  # it was killed
            far.internal.patch(f"/internal/mitras/{mitra.id}", token=operator_token, json={"is_active": False})

    request = threading.Thread(target=deactivate)
    with database.holding("SELECT FROM mitras WHERE id = %s FOR UPDATE", mitra.id):
        request.start()
        until(database.waiting, what="the request to wait for the lock")
        far.signal(signal.SIGTERM)
        until(lambda: len(writers(mirror)) == 3, what="its sweeper to leave")
        if end == "is killed":
            far.kill()
        else:
            assert far.wait_exit() == 0
    request.join()
    until(lambda: not database.value("SELECT is_active FROM mitras WHERE id = %s", mitra.id), what="the commit")
    until(mirror.equal)
    assert len(writers(mirror)) == 2


def test_a_worker_that_stops_before_it_knows_how_a_change_ended_is_missed(
    mirror, mitrad_factory, proxy_factory, postgres, online_mitra, operator_token, database, until
):
    settings = {"WORKERS": 1, "VALKEY_ONLINE_MIRROR_SWEEP_SECONDS": 0}
    near = mitrad_factory(arrangement=CALM, **settings)
    proxy = proxy_factory(postgres)
    far = mitrad_factory(arrangement=CALM, DATABASE_URL=database.url_through(proxy), **settings)
    mitra = online_mitra(near)
    until(lambda: len(writers(mirror)) == 4)
    answers = []

    def deactivate():
        path = f"/internal/mitras/{mitra.id}"
        answers.append(far.internal.patch(path, token=operator_token, json={"is_active": False}).status)

    request = threading.Thread(target=deactivate)
    with database.holding("SELECT FROM mitras WHERE id = %s FOR UPDATE", mitra.id):
        request.start()
        until(database.waiting, what="the request to wait for the lock")
        proxy.refuse()
        proxy.cut()
        request.join()
        far.stop()
    assert answers == [503]
    until(lambda: not database.value("SELECT is_active FROM mitras WHERE id = %s", mitra.id), what="the commit")
    until(mirror.equal)


def test_a_sweep_that_does_not_learn_how_its_change_ended_is_looked_after(
    mirror, listening, make_mitra, proxy_factory, postgres, sweeper, database, until
):
    proxy = proxy_factory(postgres)
    mitra = make_mitra()
    mirror.put_online(mitra, heard_ago=600)
    mirror.reseed()
    with database.holding("LOCK TABLE mitra_online_logs IN SHARE MODE"):
        sweeper(DATABASE_URL=database.url_through(proxy), MITRA_AUTO_OFFLINE_SWEEP_SECONDS=1)
        until(database.waiting, what="the sweep to wait for the lock")
        proxy.refuse()
        proxy.cut()
    until(lambda: not mirror.is_online(mitra), what="the commit that nobody was told of")
    assert mirror.keys.sismember("mitras:online", mitra.id), "the mirror knows nothing of it yet"
    proxy.forward()
    until(mirror.equal)


def test_who_stops_in_order_is_not_missed(mirror, two_instances, until):
    near, far, _ = two_instances
    until(lambda: len(writers(mirror)) == 4)
    far.stop()
    assert len(writers(mirror)) == 2
    near.stop()
    assert writers(mirror) == set()


def test_the_generation_before_a_reload_is_not_missed(mirror, mitrad_factory, until):
    instance = mitrad_factory(arrangement=CALM)
    until(lambda: len(writers(mirror)) == 3)  # two workers and the sweeper
    former, family = writers(mirror), instance.children()
    instance.signal(signal.SIGHUP)
    instance.wait_log("is reloaded")
    until(lambda: not set(family["worker"] + family["sweeper"]) & set(sum(instance.children().values(), [])))
    assert not former & writers(mirror)
