"""The work: what is asked of every candidate, as requests that are ready to be sent."""

import uuid
from dataclasses import dataclass

from . import load, people

ONLINE = 300  # mitras who beat, and whom the beacon and the blast count
CONNECTIONS = (64, 2000)


@dataclass
class Work:
    name: str  # in JSON
    title: str  # in tables
    requests: str  # the generator's file
    cycle: int = 1  # requests a connection sends in turn
    internal: bool = False  # goes to the operators' listener


def _request(method, path, token=None):
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "User-Agent: bench"]
    if method == "POST":
        lines.append("Content-Length: 0")
    if token:
        lines.append(f"Authorization: Bearer {token}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def heartbeats(count, first=0):
    return [
        _request("POST", "/api/mitra/status/heartbeat", people.token("mitra", people.mitra_id(first + number)))
        for number in range(count)
    ]


def _toggles(first, count):
    """Each goes online and offline again: a connection's cycle is one mitra's."""
    requests = []
    for number in range(first, first + count):
        token = people.token("mitra", people.mitra_id(number))
        requests += [_request("POST", f"/api/mitra/status/{way}", token) for way in ("online", "offline")]
    return requests


def blast(limit=None):
    token = people.token("operator", str(uuid.uuid4()), role="admin")
    return _request("GET", "/internal/availability" + (f"?limit={limit}" if limit else ""), token)


def standard():
    """The four kinds of the table, in its order."""
    beacon = _request("GET", "/public/bestie-availability")
    return [
        Work("heartbeat", "heartbeat", load.prepare("heartbeat", heartbeats(ONLINE)), cycle=5),
        Work("beacon", "beacon", load.prepare("beacon", [beacon])),
        Work("toggle", "online/offline", load.prepare("toggle", _toggles(ONLINE, max(CONNECTIONS))), cycle=2),
        Work("blast", f"blast read, {ONLINE} online", load.prepare("blast", [blast()]), internal=True),
    ]
