"""A world in which nothing happens costs next to nothing: nobody looks in vain whether there is something to do."""

from __future__ import annotations

import asyncio

from tests.simulation.children import apart

REST = 600.0
"""Seconds."""


def _steps_at_rest() -> float:
    """Of a whole world, a second."""
    from tests.simulation.world import World, prepare

    class Resting(World):
        steps = 0

        async def _course(self) -> None:
            await super()._course()
            before = self.loop.steps
            await asyncio.sleep(REST)
            self.steps = self.loop.steps - before

    prepare()
    world = Resting(0, faults=(), wanted={"months": False, "projectors": 1, "effects": 1, "mqtt": True})
    assert world.run().violations == []
    return world.steps / REST


def test_who_has_nothing_to_commit_to_save_or_to_tell_is_not_woken() -> None:
    """Five processes with ten engines: what is left are polls of ten seconds, heartbeats and pings."""
    assert apart(_steps_at_rest) < 10
