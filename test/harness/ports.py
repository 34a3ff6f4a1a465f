"""Free loopback ports."""

import os
import random
import socket

# Below the kernel's ephemeral range, so that no outgoing connection takes a port between the choice and its use.
# Two processes may still choose the same one: whoever starts a server tries again with another.
_random = random.Random(os.urandom(8))
_given = set()


def free_port():
    while True:
        port = _random.randrange(10240, 32000)
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
