"""All charge points of a run come to the gateway: what the clients report meanwhile is printed every few seconds.

What enters: client processes that are told to connect. What leaves: how often charge points were refused, by reason.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from bench.clients import Client

SAY_EVERY = 5.0


async def connect_all(
    clients: Sequence[Client], points: int, patience: float, console: Console
) -> Counter[str]:
    """Returns once all are connected. Raises TimeoutError after `patience` seconds, with how many were by then."""
    began = time.monotonic()
    for client in clients:
        client.order("connect")
    saying = asyncio.create_task(_say(clients, points, began, console))
    try:
        said = await asyncio.gather(*(asyncio.to_thread(client.answer, patience) for client in clients))
    except TimeoutError:
        connected, refused = _so_far(clients)
        text = f"{connected} of {points} charge points connected in {patience:g} s, {refused} times refused"
        raise TimeoutError(text) from None
    finally:
        saying.cancel()
    refusals: Counter[str] = Counter()
    for one in said:
        refusals.update(one[1])
    seconds = time.monotonic() - began
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in refusals.most_common()) or "none"
    console.print(f"{points:,} connected in {seconds:.1f} s; refused: {reasons}", soft_wrap=True)
    return refusals


async def _say(clients: Sequence[Client], points: int, began: float, console: Console) -> None:
    while True:
        await asyncio.sleep(SAY_EVERY)
        connected, refused = _so_far(clients)
        seconds = time.monotonic() - began
        console.print(f"{seconds:5.0f} s: {connected:,} of {points:,} connected, {refused:,} times refused")


def _so_far(clients: Sequence[Client]) -> tuple[int, int]:
    connected = sum(client.progress[0] for client in clients)
    return connected, sum(client.progress[1] for client in clients)
