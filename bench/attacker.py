"""An attacker in a process of its own: `python -m bench.attacker FLOOD OCPP_URL HTTP_URL SECONDS`, on loopback only.

What leaves: one JSON line with how often it did its worst, how it was answered, and what processor time that took. It
never takes more than half a core, so that what it harms is harmed by what it does, not by the work of doing it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import msgspec

from bench.sockets import HandshakeRefusedError, Socket, open_socket

HALF = 0.5
"""Of a core."""
HANDS = 40
"""What it does at once."""
HELD = 200
"""Connections that it holds open at once."""
FOE, FOE_POINT = "foe", "FOE-1"
"""Its tenant, where it has a charge point of its own; another's charge points are what is measured."""
GUESSED = 5
"""Charge points of the other tenant that have a password."""
LARGE = 900_000
"""Bytes of a large frame, below the limit."""
MALFORMED = (b"[", b"{}", b'[2,"1"]', b'[2,"1","Frobnicate",{}]', b"[9]", b"\x00" * 50, b"[[[[[[[[[[")


class Attacker:
    """One flood. `done` counts what was sent, `answers` how it was answered."""

    def __init__(self, ocpp_url: str, http_url: str) -> None:
        self._ocpp, self._http = ocpp_url, http_url
        self._numbers = itertools.count()
        self._held: list[asyncio.StreamWriter] = []
        self._socket: Socket | None = None
        self.done = 0
        self.answers: Counter[str] = Counter()

    async def run(self, flood: str, seconds: float) -> None:
        """With many hands, until its time is over."""
        work, end = FLOODS[flood], time.monotonic() + seconds
        began, used = time.monotonic(), time.process_time()

        async def hand() -> None:
            while time.monotonic() < end:
                try:
                    async with asyncio.timeout(5.0):
                        self.answers[await work(self)] += 1
                except (OSError, TimeoutError, HandshakeRefusedError, asyncio.IncompleteReadError) as error:
                    self.answers[str(getattr(error, "status", type(error).__name__))] += 1
                self.done += 1
                ahead = (time.process_time() - used) / HALF - (time.monotonic() - began)
                await asyncio.sleep(max(0.0, ahead))

        await asyncio.gather(*(hand() for _ in range(HANDS)))
        for writer in self._held:
            writer.transport.abort()
        if self._socket is not None:
            self._socket.abort()

    # -- what it does --------------------------------------------------------------------------------------------

    async def wrong_password(self) -> str:
        """At charge points that have one, a new word each time."""
        number = next(self._numbers)
        id = f"LOCKED-{number % GUESSED}"
        await self._shake(f"bench/{id}", f"{id}:wrong-{number}")
        return "101"

    async def handshakes(self) -> str:
        """Of charge points that nobody knows."""
        await self._shake(f"{FOE}/STORM{next(self._numbers)}", None)
        return "101"

    async def half_sent(self) -> str:
        """A body of which the rest never comes; the oldest goes when there are many."""
        _, writer = await self._connect(self._http)
        writer.write(self._head("POST", "/api/v1/tenants", "Content-Length: 100000") + b"{")
        self._held.append(writer)
        if len(self._held) > HELD:
            oldest = self._held.pop(0)  # a writer that is let go of before it is closed warns
            oldest.transport.abort()
        return "held"

    async def unknown_path(self) -> str:
        return await self._ask("GET", f"/nothing/{next(self._numbers)}")

    async def bad_token(self) -> str:
        return await self._ask("GET", "/api/v1/sessions", f"Authorization: Bearer {next(self._numbers)}")

    async def large_frame(self) -> str:
        """Of a charge point of its own; as fast as they are taken."""
        socket = await self._own()
        data = "x" * LARGE
        socket.send(msgspec.json.encode([2, str(self.done), "DataTransfer", {"vendorId": "v", "data": data}]))
        return await self._flushed(socket)

    async def malformed_frame(self) -> str:
        number = next(self._numbers)
        socket = await self._own()
        socket.send(MALFORMED[number % len(MALFORMED)])
        return await self._flushed(socket)

    # -- how -----------------------------------------------------------------------------------------------------

    async def _own(self) -> Socket:
        while self._socket is None or self._socket.closed:
            await asyncio.sleep(0.05)
            if self._socket is None or self._socket.closed:
                self._socket = await open_socket(
                    f"{self._ocpp}/ocpp/{FOE}/{FOE_POINT}", lambda text: None, lambda: None
                )
        return self._socket

    async def _flushed(self, socket: Socket) -> str:
        """Once little of it waits here: what the other side does not take yet is not said again."""
        while not socket.closed and socket.waiting > 2 * LARGE:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.01)
        await asyncio.sleep(0)
        return "closed" if socket.closed else "sent"

    async def _shake(self, path: str, basic: str | None) -> None:
        socket = await open_socket(
            f"{self._ocpp}/ocpp/{path}", lambda text: None, lambda: None, basic=basic, timeout=5.0
        )
        socket.abort()

    async def _ask(self, method: str, path: str, *headers: str) -> str:
        reader, writer = await self._connect(self._http)
        try:
            writer.write(self._head(method, path, "Connection: close", *headers))
            return (await reader.readuntil(b"\r\n")).split(b" ")[1].decode()
        finally:
            writer.transport.abort()

    @staticmethod
    async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(url)
        return await asyncio.open_connection(parts.hostname, parts.port)

    @staticmethod
    def _head(method: str, path: str, *headers: str) -> bytes:
        return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


FLOODS: dict[str, Callable[[Attacker], Awaitable[str]]] = {
    "wrong-passwords": Attacker.wrong_password,
    "handshakes": Attacker.handshakes,
    "half-sent-bodies": Attacker.half_sent,
    "unknown-paths": Attacker.unknown_path,
    "bad-tokens": Attacker.bad_token,
    "large-frames": Attacker.large_frame,
    "malformed-frames": Attacker.malformed_frame,
}


def main(arguments: list[str]) -> int:
    """Attack, then say what came of it."""
    flood, ocpp_url, http_url, seconds = arguments
    for url in (ocpp_url, http_url):
        if not ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback:
            raise SystemExit(f"{url} is not on this machine")
    attacker = Attacker(ocpp_url, http_url)
    began = time.monotonic()
    asyncio.run(attacker.run(flood, float(seconds)))
    took = time.monotonic() - began
    told = {
        "done": attacker.done,
        "a_second": round(attacker.done / took, 1),
        "cpu_percent": round(100 * time.process_time() / took, 1),
        "answers": dict(attacker.answers.most_common(10)),
    }
    sys.stdout.write(msgspec.json.encode(told).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
