"""`mitrad migrate` replaces all functions while the server serves: nobody is told of it."""

import threading
import time
from collections import Counter

from harness import program

REPLACEMENTS = 4


def test_functions_are_replaced_under_load_without_a_failed_request(mitrad_factory, database, make_mitra, make_customer):
    instances = [mitrad_factory(), mitrad_factory()]
    people = [(make_mitra().token, make_customer().token) for _ in range(8)]
    stop, seen, failed = threading.Event(), Counter(), []

    def live(number):
        """Toggles and sessions lock the same tables in different orders."""
        api, (mitra, customer) = instances[number % 2], people[number]
        while not stop.is_set():
            for path, token, json in [
                ("/api/mitra/status/online", mitra, None),
                ("/api/client/sessions", customer, {"duration_minutes": 30}),
                ("/api/mitra/status/offline", mitra, None),
            ]:
                answer = api.post(path, token=token, json=json)
                seen[(path, answer.status)] += 1
                if answer.status not in (200, 201, 409):
                    failed.append(answer)

    threads = [threading.Thread(target=live, args=(number,)) for number in range(len(people))]
    for thread in threads:
        thread.start()
    try:
        for _ in range(REPLACEMENTS):
            time.sleep(0.2)
            database.execute("COMMENT ON SCHEMA mitrad IS 'of another release'")
            done = program.run("migrate", settings={"DATABASE_URL": database.url})
            assert done.returncode == 0 and "replaced the functions" in done.stdout + done.stderr
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == [], seen
    assert sum(seen.values()) > 100
    assert database.deadlocks() == [], "nobody had to be ended for it"
