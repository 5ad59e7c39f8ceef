"""API keys in a world: an admin makes and revokes them through an api process, and a service shows them at each.

What enters: api processes. What leaves: when each key was made and revoked, as its admin was told, and when it was
let in where, noted in that process's own step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from application.key_text import key_text
from application.keys import BOUND, secret_digest
from application.principal import BadTokenError
from commands.base import Command, Meta
from commands.key import CreateKey, RevokeKey
from domain.access import Grant
from projections.store import StoreUnavailableError
from streams.log import LogUnavailableError
from streams.log.envelope import Reply
from tests.simulation.facts import TENANT

if TYPE_CHECKING:
    from tests.simulation.processes import Process
    from tests.simulation.world import World

EVERY: Final = 0.25
"""Seconds between two tries of a service."""


@dataclass(slots=True)
class Shown:
    """One key; times are the world's, None where it did not come about. `let_in` says where and when."""

    id: str
    text: str
    made_at: float | None = None
    revoked_at: float | None = None
    let_in: list[tuple[str, float]] = field(default_factory=list)


async def course(world: World) -> None:
    """Keys are made, shown all the while, and some of them revoked."""
    showing = asyncio.create_task(_service(world))
    chance = world.chance
    for number in range(world.shape.keys):
        await asyncio.sleep(chance.random() * world.shape.storm / 4)
        key = Shown(f"{number:012d}", key_text(f"{number:012d}", "s" * 43))
        world.keys.append(key)
        if await _made(world, key) and number % 3 != 2:
            await asyncio.sleep(chance.random() * world.shape.storm / 4)
            await _revoked(world, key)
    world.keys_done = True
    await showing


async def _made(world: World, key: Shown) -> bool:
    def command(process: Process) -> Command:
        digest = secret_digest(process.vault, key.text)
        grant = Grant(role="viewer")
        return CreateKey(tenant=TENANT, key_id=key.id, name="service", grant=grant, secret_digest=digest)

    reply = await asked(world, command, f"key made {key.id}")
    key.made_at = world.loop.now
    return reply.refusal is None


async def _revoked(world: World, key: Shown) -> None:
    await asked(world, lambda _: RevokeKey(tenant=TENANT, key_id=key.id), f"key revoked {key.id}")
    key.revoked_at = world.loop.now


async def asked(world: World, command: Any, id: str) -> Reply:
    """Through any api process, until one has an answer."""
    while True:
        for process in apis(world):
            meta = Meta(command_id=id, at=process.clock(), tenant=TENANT, principal="tenant_admin:ann")
            asking: asyncio.Task[Reply] = world.loop.spawn(
                process.node, _ask(process, command(process), meta)
            )
            await asyncio.wait({asking}, timeout=8)  # who was killed never answers
            if asking.done() and not isinstance(asking.exception(), LogUnavailableError):
                return asking.result()
        await asyncio.sleep(0.5)


async def _ask(process: Process, command: Command, meta: Meta) -> Reply:
    assert process.bus is not None
    return await process.bus.ask(command, meta)


async def _service(world: World) -> None:
    """Shows every key everywhere, until the last was long revoked."""
    while not world.keys_done:
        for process in apis(world):
            for key in world.keys:
                world.loop.spawn(process.node, show(process, key))
        await asyncio.sleep(EVERY)


async def show(process: Process, key: Shown) -> str:
    """Empty where it was let in, else why not."""
    try:
        await process.engines["keys"].of_key(key.text, "192.0.2.7")
    except (BadTokenError, LogUnavailableError, StoreUnavailableError) as error:
        return str(error)
    key.let_in.append((process.name, process.world.loop.now))
    return ""


def apis(world: World) -> list[Process]:
    return [
        process
        for process in world.processes.values()
        if process.role == "api" and process.ready and process.node.alive and not process.node.frozen
    ]


async def at_rest(world: World) -> None:
    """On a quiet day every key that was made opens, and every one that was revoked does not, at every process."""
    for process in apis(world):
        for key in world.keys:
            why = await world.loop.spawn(process.node, show(process, key))
            if key.made_at is not None and (why == "") != (key.revoked_at is None):
                world.violation(f"keys: {key.id} at {process.name} in the calm: {why or 'let in'}")


def too_late(world: World) -> Iterator[str]:
    """Keys that opened something longer than their bound after their revocation was answered, or unmade."""
    for key in world.keys:
        for name, at in key.let_in:
            if key.revoked_at is not None and at > key.revoked_at + BOUND:
                yield f"{key.id} was let in by {name} {at - key.revoked_at:.1f} s after it was revoked"
                break
