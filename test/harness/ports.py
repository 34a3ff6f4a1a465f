"""Free loopback ports."""

import fcntl
import functools
import os
import random
import socket

# Below the kernel's ephemeral range, so that no outgoing connection takes a port between the choice and its use.
PORTS = range(10240, 32000)
_random = random.Random(os.urandom(8))
_given = set()


def free_port():
    """
    One that nobody else is given while this process lives, not even when its server is stopped for a moment: the suite's
    processes reserve what they choose from each other, by a lock on the port's byte of a file that all of them share.
    """
    while True:
        port = _random.choice(PORTS)
        if port in _given or not _is_free(port) or not _reserved(port):
            continue
        _given.add(port)
        return port


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reserved(port):
    try:
        fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


@functools.cache
def _reservations():
    """Kept open for good: the process loses its locks when it closes any descriptor of the file."""
    return os.open(f"/tmp/mitrad-test-ports-{os.geteuid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
