"""Children that die: what the probes say of it."""


def test_readyz_says_that_a_child_crashes_again_and_again(mitrad_factory, until):
    instance = mitrad_factory(WORKERS=2)
    assert instance.get("/readyz").json["status"] == "ok"
    for _ in range(3):
        instance.kill_sweeper()
    until(lambda: instance.get("/readyz").json["status"] == "degraded")
    assert instance.get("/readyz").status == 200
    assert instance.get("/livez").status == 200
