"""A server that answers charge points and does nothing else: what websockets and msgspec alone can do here.

What enters: `python -m bench.bare`. What leaves: the address on standard output, and to each call the shortest answer
that is right. Rates of the whole system mean something beside its rate of the same run only.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

import msgspec
import uvloop
from websockets.asyncio.server import ServerConnection, serve

_ACCEPTED: Final = b'{"idTagInfo":{"status":"Accepted"}}'
_TIME: Final = b'"2026-01-01T00:00:00Z"'
_numbers = itertools.count(1)

ANSWERS: Final[dict[bytes, Callable[[], bytes]]] = {
    b'"BootNotification"': lambda: b'{"status":"Accepted","interval":300,"currentTime":%b}' % _TIME,
    b'"Heartbeat"': lambda: b'{"currentTime":%b}' % _TIME,
    b'"Authorize"': lambda: _ACCEPTED,
    b'"StartTransaction"': lambda: b'{"transactionId":%d,%b' % (next(_numbers), _ACCEPTED[1:]),
    b'"StopTransaction"': lambda: _ACCEPTED,
}


async def _answer(connection: ServerConnection) -> None:
    decode = msgspec.json.Decoder(list[msgspec.Raw]).decode
    async for text in connection:
        _, id, action, _ = decode(text)
        answer = ANSWERS.get(bytes(action), lambda: b"{}")()
        await connection.send(b"[3,%b,%b]" % (bytes(id), answer), text=True)


async def _serve() -> None:
    async with serve(_answer, "127.0.0.1", 0, subprotocols=["ocpp1.6"], compression=None) as server:  # type: ignore[list-item]
        port = server.sockets[0].getsockname()[1]
        print(f"ws://127.0.0.1:{port}", flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(_serve())
