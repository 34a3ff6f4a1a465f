"""
Somebody edits tables by hand, and takes his locks in another order than a request does: PostgreSQL breaks the deadlock at
the request's expense.
"""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

from harness.wait import wait_until

ONLINE = "/api/mitra/status/online"
MITRAS = 4
ROUNDS = 2
WAITING = """WITH RECURSIVE waiting (pid) AS (
    SELECT %s
    UNION SELECT a.pid FROM waiting w JOIN pg_stat_activity a ON w.pid = ANY (pg_blocking_pids(a.pid))
) SELECT count(*) - 1 FROM waiting"""


class Editor(threading.Thread):
    """
    Holds a mitra's status and wants the mitra himself, behind a request that wants both: they queue for the mitra, whom
    another edit holds until both are there.  So he is waiting already when the request comes to the status, and as he would
    wait for a minute before he looked for a deadlock, it is the request that PostgreSQL ends.
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
        self.queue = database.connect()
        self.queue.autocommit = False
        self.queue.cursor().execute("SELECT FROM mitras WHERE id = %s FOR UPDATE", (mitra.id,))
        self.failure = None

    def waiting_for(self, connection):
        """How many wait for that connection, or for others who do."""
        with contextlib.closing(self.database.connect()) as looking, looking.cursor() as cursor:
            cursor.execute(WAITING, (connection.info.backend_pid,))
            return cursor.fetchone()[0]

    def let_both_through(self):
        try:
            wait_until(lambda: self.waiting_for(self.queue) == 2, what="the edit to wait behind the request")
        finally:
            self.queue.close()

    def run(self):
        try:
            wait_until(lambda: self.waiting_for(self.queue) == 1, what="a request that waits for the mitra")
            opening = threading.Thread(target=self.let_both_through)
            opening.start()
            self.cursor.execute("UPDATE mitras SET display_name = 'Edited' WHERE id = %s", (self.mitra.id,))
            opening.join()
            self.cursor.execute("COMMIT")
        except Exception as failure:  # shown by the test
            self.failure = failure
        finally:
            self.connection.close()
            self.queue.close()


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
