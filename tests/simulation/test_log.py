"""The simulated log keeps the contract of every log."""

from __future__ import annotations

import inspect
from random import Random

import pytest

from streams.log import TopicSpec
from tests.simulation.broker import Broker
from tests.simulation.log import SimLog
from tests.simulation.loop import SimLoop
from tests.simulation.network import Network
from tests.streams.log_contract import LogContract

RULES = [name for name, _ in inspect.getmembers(LogContract, inspect.isfunction) if name.startswith("test_")]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("rule", RULES)
def test_the_simulated_log_keeps_the_contract(rule: str, seed: int) -> None:
    loop: SimLoop = SimLoop(Random(seed))  # type: ignore[abstract]

    async def run() -> None:
        broker = Broker(Network(loop))
        broker.begin()
        log = SimLog(broker, loop.world)
        await log.start()
        await log.ensure([TopicSpec("topic", 4)])
        test = getattr(LogContract(), rule)
        wanted = inspect.signature(test).parameters
        await test(
            **{name: value for name, value in {"log": log, "topic": "topic"}.items() if name in wanted}
        )
        await log.close()

    loop.run_until_complete(run())
    assert not loop.exceptions
