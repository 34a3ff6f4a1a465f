"""
A TCP proxy in front of a server, which fails in the ways that networks and machines do.

    forward()      as if it were not there (the state at start)
    refuse()       nobody listens: existing connections are reset, new ones refused
    black_hole()   connections are accepted, bytes vanish in both directions; existing connections too, and who lost some
                   stays silent for ever: what arrives of a stream has no gap
    drop()         existing connections go silent for ever, new ones work: a failover without a goodbye
    cut()          existing connections are reset in the middle of what they do, new ones work
    slow(seconds)  every piece of data is that late, in each direction
    answer(data)   the server is not asked: whatever the client sends, it gets this back; existing connections too

The port stays the same, and nobody else can take it, in all of them.  The proxy runs in a thread with a loop of its
own; each method returns when the new behaviour holds.
"""

import asyncio
import socket
import struct
import threading

from . import ports


class Proxy:
    def __init__(self, target_port, target_host="127.0.0.1"):
        self.target = (target_host, target_port)
        self.accepted = 0  # connections so far
        self.delay = 0.0
        self.swallow = False
        self.reply = None
        self.pairs = set()
        self._socket, self.port = _bound_to_free_port()
        self._server = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True, name=f"proxy:{self.port}")
        self._thread.start()
        self.forward()

    def forward(self):
        self._run(self._listen(swallow=False, delay=0.0))

    def slow(self, seconds):
        self._run(self._listen(swallow=False, delay=seconds))

    def black_hole(self):
        self._run(self._listen(swallow=True, delay=0.0))

    def answer(self, data):
        self._run(self._listen(swallow=False, delay=0.0, reply=data))

    def refuse(self):
        self._run(self._refuse())

    def cut(self):
        self._run(self._cut())

    def drop(self):
        self._run(self._drop())

    def connections(self):
        """How many connections are open through the proxy."""
        return len(self.pairs)

    def stop(self):
        if self._loop.is_closed():
            return
        self._run(self._refuse())
        self._socket.close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _listen(self, swallow, delay, reply=None):
        self.swallow = swallow
        self.delay = delay
        self.reply = reply
        if self._server is None:
            self._server = await self._loop.create_server(lambda: Front(self), sock=self._socket)

    async def _refuse(self):
        if self._server is not None:
            self._server.close()
            self._server = None
            # A socket that is bound but does not listen refuses connections, and keeps the port.
            self._socket = _bound(self.port)
        await self._cut()

    async def _cut(self):
        for pair in list(self.pairs):
            pair.reset()

    async def _drop(self):
        for pair in list(self.pairs):
            pair.silent = True


class Front(asyncio.Protocol):
    """The client's side of one connection through the proxy; it owns the other side."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.silent = False
        self.client = None
        self.server = None
        self.early = []  # what came before the server's side was connected
        self.latest = 0.0  # when the last piece that was delayed goes on: none overtakes it

    def connection_made(self, transport):
        self.client = transport
        self.proxy.accepted += 1
        self.proxy.pairs.add(self)
        # In a black hole nobody is there to connect to: the connection stays swallowed even when the hole is gone.
        if self.proxy.swallow:
            self.silent = True
            return
        asyncio.ensure_future(self._connect())

    async def _connect(self):
        loop = asyncio.get_running_loop()
        try:
            self.server, _ = await loop.create_connection(lambda: Back(self), *self.proxy.target)
        except OSError:
            self.reset()
            return
        if self.client.is_closing():
            self.server.abort()
            return
        for data in self.early:
            self.pass_on(self.server, data)
        self.early.clear()

    def data_received(self, data):
        if self.proxy.reply is not None:
            write(self.client, self.proxy.reply)
            return
        if self.server is None and not self.silent:
            self.early.append(data)
            return
        self.pass_on(self.server, data)

    def pass_on(self, transport, data):
        """Writes to either side: now, later or never."""
        self.silent |= self.proxy.swallow
        if self.silent:
            return
        loop = asyncio.get_running_loop()
        if not self.proxy.delay and self.latest < loop.time():
            write(transport, data)
            return
        # Timers of one moment may fire in any order.
        self.latest = max(loop.time() + self.proxy.delay, self.latest + 1e-6)
        loop.call_at(self.latest, write, transport, data)

    def connection_lost(self, _error):
        self.proxy.pairs.discard(self)
        if self.server is not None:
            self.server.close()

    def server_lost(self):
        if not self.silent and not self.proxy.swallow:
            self.client.close()

    def reset(self):
        """Both sides see ECONNRESET, not an orderly end."""
        for transport in (self.client, self.server):
            if transport is None:
                continue
            peer = transport.get_extra_info("socket")
            if peer is not None and peer.fileno() >= 0:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        self.proxy.pairs.discard(self)


class Back(asyncio.Protocol):
    """The server's side of one connection through the proxy."""

    def __init__(self, front):
        self.front = front

    def data_received(self, data):
        self.front.pass_on(self.front.client, data)

    def connection_lost(self, _error):
        self.front.server_lost()


def write(transport, data):
    if not transport.is_closing():
        transport.write(data)


def _bound(port):
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    return made


def _bound_to_free_port():
    while True:
        port = ports.free_port()
        try:
            return _bound(port), port
        except OSError:
            continue
