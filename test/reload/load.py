"""
A client that is none of the server's kin, and no kinder than others: asks at a steady rate until its stdin closes, half
of it over connections that it keeps, half over one connection each, and never asks twice.

    load.py PORT REQUESTS_PER_SECOND

Prints one JSON object at the end: {"answered": …, "failed": …, "reasons": [the first few]}.
"""

import asyncio
import json
import sys
import threading

CLIENTS = 16  # half of them keep their connection
PATH = "/public/bestie-availability"


class Load:
    def __init__(self, port, rate):
        self.port = port
        self.pause = CLIENTS / rate
        self.answered = 0
        self.reasons = []
        self.failed = 0
        self.over = False

    async def run(self):
        threading.Thread(target=self._wait_for_the_end, daemon=True).start()
        await asyncio.gather(*(self._client(keeps=number % 2 == 0) for number in range(CLIENTS)))
        print(json.dumps({"answered": self.answered, "failed": self.failed, "reasons": self.reasons[:5]}))

    def _wait_for_the_end(self):
        sys.stdin.read()
        self.over = True

    async def _client(self, keeps):
        loop = asyncio.get_running_loop()
        due = loop.time()
        connection = None
        while not self.over:
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
                stays = await asyncio.wait_for(self._ask(connection, keeps), 10)
                self.answered += 1
                if not stays:
                    connection[1].close()
                    connection = None
            except (OSError, ValueError, asyncio.TimeoutError, EOFError) as error:
                self.failed += 1
                self.reasons.append(f"{'kept' if keeps else 'fresh'}: {error!r}")
                connection = None
            due = max(due + self.pause, loop.time() - 1)
            await asyncio.sleep(max(0, due - loop.time()))

    async def _ask(self, connection, keeps):
        """True if the connection may be used again."""
        reader, writer = connection
        asked = "keep-alive" if keeps else "close"
        writer.write(f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nConnection: {asked}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        await reader.readexactly(int(fields["content-length"]))
        if head[0].split()[1] != "200":
            raise ValueError(head[0])
        return keeps and fields.get("connection") != "close"


asyncio.run(Load(int(sys.argv[1]), float(sys.argv[2])).run())
