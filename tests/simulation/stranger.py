"""Simulated strangers: charge points that nobody has registered and that take themselves in, if there is room.

What enters: a gateway's answers. What leaves: one handshake after another until one of them is an answer, and whether
it was let in.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from tests.simulation.facts import TENANT
from tests.simulation.loop import Node
from tests.simulation.wire import Line, Response, Upgrade

if TYPE_CHECKING:
    from tests.simulation.world import World


class Stranger:
    """One that knocks; `let_in` is None while nobody has told it."""

    def __init__(self, world: World, id: str) -> None:
        self.world = world
        self.id = id
        self.node: Node = world.loop.node(id)
        self.let_in: bool | None = None

    async def come(self) -> None:
        """Knock until it is let in, and leave at once, or until it is sent away."""
        while self.let_in is None:
            await self._knock()
            if self.let_in is None:
                await asyncio.sleep(0.5 + self.world.loop.chance.random())

    async def _knock(self) -> None:
        world = self.world
        gateways = world.gateways()
        if not gateways or not world.network.reaches(self.node, "wire"):
            return
        node, gateway = gateways[int(world.loop.chance.random() * len(gateways))]
        line = Line(world.network, self.node, node, lambda frame: None, lambda: None)
        request: Any = Upgrade(f"/ocpp/{TENANT}/{self.id}")
        socket: Any = line.socket
        done: asyncio.Future[Response | None] = asyncio.get_running_loop().create_future()

        async def admit() -> None:
            answer: Any = await gateway._admit(socket, request)
            world.loop.call_soon(_settle, done, answer, context=self.node.context)
            if answer is None:
                await gateway._serve(socket)

        world.loop.spawn(node, admit())
        try:
            async with asyncio.timeout(20):
                answer = await done
        except TimeoutError:
            line.hang_up()
            return
        if answer is None:
            self.let_in = True
            line.hang_up()
        elif answer.status is HTTPStatus.NOT_FOUND:
            self.let_in = False


def _settle(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)
