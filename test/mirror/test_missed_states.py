"""States that a worker could not write: promised to somebody, missing in the mirror, and yet never believed for long."""

import pytest

from harness.mitrad import CALM

HEARTBEAT = "/api/mitra/status/heartbeat"


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
    until(lambda: "[valkey] up again" in far.log_text())
    sources = [far.internal.get(reachable, token=operator_token).json["source"]]
    until(lambda: far.internal.get(reachable, token=operator_token).json["source"] == "valkey")
    assert sources[0] == "postgres"


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


def test_who_stops_in_order_is_not_missed(mirror, two_instances, until):
    near, far, _ = two_instances
    until(lambda: mirror.keys.zcard("mirror:writers") == 4)  # a worker and a sweeper each
    far.stop()
    assert mirror.keys.zcard("mirror:writers") == 2
    near.stop()
    assert mirror.keys.zcard("mirror:writers") == 0
