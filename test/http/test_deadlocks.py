"""
Somebody edits tables by hand, and takes his locks in another order than a request does: PostgreSQL breaks the deadlock at
the request's expense.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

from harness.wait import wait_until

ONLINE = "/api/mitra/status/online"
MITRAS = 4
ROUNDS = 2


class Editor(threading.Thread):
    """
    Holds a mitra's status until the request waits for it, then wants the mitra himself.  He would wait for a minute before
    he looked for a deadlock, so it is the request that PostgreSQL ends.
    """

    def __init__(self, database, mitra):
        super().__init__()
        self.database = database
        self.mitra = mitra
        self.connection = database.connect()
        self.cursor = self.connection.cursor()
        self.cursor.execute("SET deadlock_timeout = '60s'")
        self.cursor.execute("BEGIN")
        self.cursor.execute("SELECT FROM mitra_online_status WHERE mitra_id = %s FOR UPDATE", (mitra.id,))
        self.failure = None

    def waits_for_us(self):
        return self.database.value(
            "SELECT count(*) FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))",
            self.connection.info.backend_pid,
        )

    def run(self):
        try:
            wait_until(self.waits_for_us, what="a request that waits for the edit")
            self.cursor.execute("UPDATE mitras SET display_name = 'Edited' WHERE id = %s", (self.mitra.id,))
            self.cursor.execute("COMMIT")
        except Exception as failure:  # shown by the test
            self.failure = failure
        finally:
            self.connection.close()


def test_a_request_that_lost_a_deadlock_lets_the_winner_through_and_succeeds(database, mitrad, make_mitra):
    for _ in range(ROUNDS):
        mitras = [make_mitra() for _ in range(MITRAS)]
        for mitra in mitras:
            assert mitrad.post(ONLINE, token=mitra.token).status == 200
            assert mitrad.post("/api/mitra/status/offline", token=mitra.token).status == 200
        editors = [Editor(database, mitra) for mitra in mitras]
        for editor in editors:
            editor.start()
        with ThreadPoolExecutor(MITRAS) as pool:
            answers = list(pool.map(lambda mitra: mitrad.post(ONLINE, token=mitra.token), mitras))
        for editor in editors:
            editor.join()
        assert [editor.failure for editor in editors] == [None] * MITRAS
        assert [answer.status for answer in answers] == [200] * MITRAS
    assert database.deadlocks() != [], "or this has tested nothing"
