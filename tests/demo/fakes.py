"""A central system of a few lines: answers everything, remembers everything, and can fail on purpose."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

Payload = dict[str, object]


class CentralSystem:
    """`calls` are the charge point's, in order: (message id, action, payload)."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, Payload]] = []
        self.url = ""
        self.status = "Accepted"
        self.passwords = {"CP-1": "secret"}
        self.unanswered: set[str] = set()
        self.away = self.open = False
        self.slow_once = 0.0
        self.refused = 0
        self._ids = itertools.count(1)
        self._transactions = itertools.count(41)
        self._answers: dict[str, asyncio.Future[Payload]] = {}
        self._socket: ServerConnection | None = None
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with serve(
            self._serve, "127.0.0.1", 0, subprotocols=[Subprotocol("ocpp1.6")], process_request=self._admit
        ) as server:
            self.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ocpp/demo"
            yield

    async def until(self, fact: Callable[[], bool]) -> None:
        """Wait, at most 10 s, until a fact about the calls holds."""
        async with asyncio.timeout(60), self._changed:
            await self._changed.wait_for(fact)

    def of(self, *actions: str) -> list[Payload]:
        return [payload for _, action, payload in self.calls if action in actions]

    async def call(self, action: str, payload: Payload) -> Payload:
        """The charge point's answer."""
        assert self._socket is not None
        id = f"s{next(self._ids)}"
        answer: asyncio.Future[Payload] = asyncio.get_running_loop().create_future()
        self._answers[id] = answer
        await self._socket.send(json.dumps([2, id, action, payload]))
        return await asyncio.wait_for(answer, 10)

    async def drop(self) -> None:
        assert self._socket is not None
        self._socket.transport.abort()

    async def _admit(self, socket: ServerConnection, request: Request) -> Response | None:
        answer = self._refuse(socket, request)
        if answer is not None:
            async with self._changed:
                self.refused += 1
                self._changed.notify_all()
        return answer

    def _refuse(self, socket: ServerConnection, request: Request) -> Response | None:
        if self.away:
            return socket.respond(HTTPStatus.SERVICE_UNAVAILABLE, "away\n")
        if self.open:
            return None
        identity = request.path.rpartition("/")[2]
        told = request.headers.get("Authorization", "").removeprefix("Basic ")
        right = f"{identity}:{self.passwords.get(identity)}"
        if base64.b64decode(told).decode() != right:
            return socket.respond(HTTPStatus.UNAUTHORIZED, "wrong\n")
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        self._socket = socket
        try:
            async for frame in socket:
                await self._take(socket, json.loads(frame))
        except ConnectionClosed:
            pass

    async def _take(self, socket: ServerConnection, message: list[object]) -> None:
        if message[0] != 2:
            self._answers.pop(str(message[1])).set_result(_object(message[2]))
            return
        id, action, payload = str(message[1]), str(message[2]), _object(message[3])
        async with self._changed:
            self.calls.append((id, action, payload))
            self._changed.notify_all()
        if action in self.unanswered:
            self.unanswered.discard(action)
            await self.drop()
            return
        if self.slow_once:
            pause, self.slow_once = self.slow_once, 0.0
            await asyncio.sleep(pause)
        await socket.send(json.dumps([3, id, self._answer(action)]))

    def _answer(self, action: str) -> Payload:
        now = "2026-01-01T00:00:00Z"
        match action:
            case "BootNotification":
                return {"status": "Accepted", "currentTime": now, "interval": 300}
            case "Heartbeat":
                return {"currentTime": now}
            case "Authorize":
                return {"idTagInfo": {"status": self.status}}
            case "StartTransaction":
                return {"transactionId": next(self._transactions), "idTagInfo": {"status": self.status}}
            case _:
                return {}


def _object(value: object) -> Payload:
    assert isinstance(value, dict)
    return value
