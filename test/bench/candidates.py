"""The candidates: the servers measured, and the PostgreSQL and Valkey servers that they have for themselves."""

import contextlib
import json
import os
import shutil

from harness import ports, process, program, scratch
from harness.mitrad import Mitrad
from harness.postgres import Postgres
from harness.postgres import programs as postgres_programs
from harness.process import PrivateServer
from harness.valkey import Valkey
from harness.api import Api
from . import machine, people, work

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = os.path.join(HERE, "peer")

# Nothing but what is asked for: no sweeps by the clock, no line for each request (nor do the others write one).
SETTINGS = {
    "WORKERS": 1,
    "LOG_LEVEL": "warning",
    "LOG_FORMAT": "json",
    "MITRA_AUTO_OFFLINE_SWEEP_SECONDS": 3600,
    "HEARTBEAT_MIRROR_INTERVAL_SECONDS": 3600,
    "VALKEY_ONLINE_MIRROR_SWEEP_SECONDS": 0,
    "SHUTDOWN_GRACE_SECONDS": 2,
}


class Stores:
    """One PostgreSQL with a database for the program and one for the peers, and a Valkey for either."""

    def __init__(self, cores):
        with machine.on(cores.postgres, cores.postgres_nice):
            self.postgres = Postgres()
            self._tune()
        with machine.on(cores.valkey):
            self.valkey = Valkey().start()
            self.peers_valkey = Valkey().start()

    def _tune(self):
        """Memory for a million mitras, no statistics that nobody reads; durability as the tests have it: none."""
        for setting in (
            "pg_stat_statements.track = 'none'",
            "shared_buffers = '512MB'",
            "maintenance_work_mem = '256MB'",
            "max_wal_size = '4GB'",
            "autovacuum = off",
        ):
            self.postgres.execute(f"ALTER SYSTEM SET {setting}")
        self.postgres.restart()

    def pids(self):
        """PostgreSQL's, backends included."""
        return [self.postgres.pid, *process.descendants(self.postgres.pid)]

    def database(self):
        """One with the program's schema, in which nobody is ever stale: the load beats for a few only."""
        database = self.postgres.create_database()
        database.execute("UPDATE app_config SET value = '86400' WHERE key = 'stale_after_seconds'")
        return database

    def peers_database(self):
        database = self.postgres.create_database(migrated=False)
        with open(os.path.join(PEER, "schema.sql"), encoding="utf-8") as schema:
            database.execute(f"SET ROLE mitrad; {schema.read()} RESET ROLE")
        return database

    def stop(self):
        self.valkey.stop()
        self.peers_valkey.stop()
        self.postgres.stop()


class MitradCandidate:
    """The program under test."""

    name = "mitrad"
    title = "mitrad"
    constant = False

    def __init__(self, stores, cores, database, settings=None, role="all"):
        self.stores = stores
        self.cores = cores
        self.valkey = stores.valkey
        self.mitrad = Mitrad(
            {"DATABASE_URL": database.url, "VALKEY_URL": self.valkey.url, **(settings or {})},
            ["--role", role],
            arrangement=SETTINGS,
        )

    def start(self):
        with machine.on(self.cores.server):
            self.mitrad.start()
        return self

    def stop(self):
        self.mitrad.stop()

    def port(self, kind):
        return (self.mitrad.internal if kind.internal else self.mitrad.public).port

    def workers(self):
        return self.mitrad.children()["worker"]

    def sweeper(self):
        return self.mitrad.children()["sweeper"][0]

    def meters(self):
        return {"worker": self.workers(), "valkey": [self.valkey.pid], "postgres": self.stores.pids()}


class OneProcess(PrivateServer):
    """A candidate that is one process on one port."""

    title = ""
    constant = False
    valkey = None

    def __init__(self, cores):
        super().__init__(scratch.directory(self.name))
        self.cores = cores
        self.api = Api(ports.free_port())

    def start(self):
        with machine.on(self.cores.server):
            return super().start()

    def port(self, kind):
        return self.api.port

    def workers(self):
        return [self.pid]

    def meters(self):
        return {"worker": self.workers()}

    def _answers(self):
        return self.api.get("/public/bestie-availability").status == 200


class Peer(OneProcess):
    """The same backend on Node, as people write it or tuned."""

    def __init__(self, stores, cores, database, tuned):
        self.name = "peer-tuned" if tuned else "peer"
        self.title = "Node peer, tuned" if tuned else "Node peer"
        super().__init__(cores)
        self.stores = stores
        self.valkey = stores.peers_valkey
        self.database = database
        self.tuned = tuned

    def meters(self):
        return {**super().meters(), "valkey": [self.valkey.pid], "postgres": self.stores.pids()}

    def _command(self):
        return [node(), os.path.join(PEER, "server.js")]

    def _environment(self):
        return {
            **program.environment(),
            "NODE_ENV": "production",
            "PORT": str(self.api.port),
            "TUNED": "1" if self.tuned else "0",
            "DATABASE_URL": self.database.url,
            "VALKEY_URL": self.valkey.url,
        }


class EvhttpConstant(OneProcess):
    name = "evhttp"
    title = "evhttp, constant answer"
    constant = True

    def _command(self):
        return [os.path.join(program.build(), "test", "bench", "bench-constant"), str(self.api.port)]


NGINX = """
daemon off;
master_process off;
pid {directory}/pid;
error_log stderr error;
worker_rlimit_nofile 20000;
events {{
	worker_connections 16000;
}}
http {{
	access_log off;
	default_type application/json;
	keepalive_requests 1000000000;
	client_body_temp_path {directory};
	proxy_temp_path {directory};
	fastcgi_temp_path {directory};
	uwsgi_temp_path {directory};
	scgi_temp_path {directory};
	server {{
		listen 127.0.0.1:{port} backlog=4096;
		location / {{
			return 200 '{{"online":true}}';
		}}
	}}
}}
"""


class NginxConstant(OneProcess):
    """One process, without a master: nothing of it can be left over."""

    name = "nginx"
    title = "nginx, constant answer"
    constant = True

    def _command(self):
        path = os.path.join(self.directory, "nginx.conf")
        with open(path, "w", encoding="utf-8") as file:
            file.write(NGINX.format(directory=self.directory, port=self.api.port))
        return [nginx(), "-p", self.directory, "-c", path]


def node():
    """Node of at least version 20, as test/bench/run found or installed it; None: there is none."""
    return os.environ.get("BENCH_NODE") or None


def nginx():
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def versions():
    """What the candidates and their servers are, for the report."""
    peer = os.path.join(PEER, "node_modules", "fastify", "package.json")
    fastify = None
    if os.path.exists(peer):
        with open(peer, encoding="utf-8") as file:
            fastify = f"Fastify {json.load(file)['version']}"
    said = {
        "mitrad": machine.version_of(program.binary(), "version"),
        "node": node() and f"Node {machine.version_of(node(), '--version')}",
        "fastify": fastify,
        "nginx": nginx() and machine.version_of(nginx(), "-v"),
        "valkey": machine.version_of("valkey-server", "--version"),
        "postgresql": machine.version_of(os.path.join(postgres_programs(), "postgres"), "--version"),
    }
    return {name: text for name, text in said.items() if text}


def all_of(stores, cores, left_out):
    """All candidates that this machine can run; why the others are left out goes to the list.  None is started."""
    end = work.ONLINE + max(work.CONNECTIONS)
    database = stores.database()
    people.fill_truth(database, 0, end, work.ONLINE)
    found = [MitradCandidate(stores, cores, database)]
    if node() and os.path.isdir(os.path.join(PEER, "node_modules")):
        peers_database = stores.peers_database()
        people.fill_truth(peers_database, 0, end, work.ONLINE)
        with stores.peers_valkey.client() as client:
            people.fill_mirror(client, end, work.ONLINE)
        found += [Peer(stores, cores, peers_database, tuned) for tuned in (False, True)]
    else:
        left_out.append("the Node peers: Node 20 or their packages could not be installed")
    found.append(EvhttpConstant(cores))
    if nginx():
        found.append(NginxConstant(cores))
    else:
        left_out.append("nginx: it could not be installed")
    return found


@contextlib.contextmanager
def running(candidates):
    """Fresh processes of all of them, until the end."""
    with contextlib.ExitStack() as stack:
        for candidate in candidates:
            candidate.start()
            stack.callback(candidate.stop)
        yield
