"""While the decider is far behind, HTTP writes are put off, partition by partition, and nothing is appended."""

from __future__ import annotations

from pathlib import Path

import pytest

from application.backpressure import RefusingBus
from commands.base import Area, Command, Meta
from commands.tenant import CreateTenant
from commands.token import RemoveToken
from streams.log import LogUnavailableError
from streams.log.envelope import Reply
from streams.log.layout import Layout
from tests.api.ocpi.hub import NOON, Hub, checked, token_header
from tests.api.ocpi.test_tokens import URL, token

META = Meta(command_id="c", at=NOON)
CREATE = CreateTenant(tenant="demo", name="Demo")
LIMIT = 10.0


class Noting:
    """A bus that notes what goes through it."""

    def __init__(self) -> None:
        self.went: list[Command] = []

    async def tell(self, command: Command, meta: Meta) -> None:
        self.went.append(command)

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        self.went.append(command)
        return Reply()


class Behind:
    """So many seconds in one partition of one area, or everywhere."""

    def __init__(self, seconds: float, area: Area | None = None, number: int | None = None) -> None:
        self.seconds = seconds
        self.place = (area, number)

    def behind_seconds(self, area: Area, partition: int | None = None) -> float:
        return self.seconds if self.place in ((None, None), (area, partition)) else 0.0


async def test_up_to_the_limit_commands_go_through() -> None:
    noting = Noting()
    bus = RefusingBus(noting, Behind(LIMIT), Layout(), LIMIT)
    await bus.ask(CREATE, META)
    await bus.tell(CREATE, META)
    assert noting.went == [CREATE, CREATE]


async def test_beyond_the_limit_nothing_goes_through_and_the_reason_is_said() -> None:
    noting = Noting()
    bus = RefusingBus(noting, Behind(LIMIT + 1), Layout(), LIMIT)
    for way in (bus.ask, bus.tell):
        with pytest.raises(LogUnavailableError, match="11 s behind, over 10"):
            await way(CREATE, META)
    assert noting.went == []


async def test_a_partition_that_is_behind_stops_no_other_one() -> None:
    noting, number = Noting(), Layout().partition_of(CREATE.group)
    bus = RefusingBus(noting, Behind(60, Area.PARTY, number), Layout(), LIMIT)
    with pytest.raises(LogUnavailableError):
        await bus.ask(CREATE, META)
    elsewhere = next(f"t{n}" for n in range(100) if Layout().partition_of(f"tenant|t{n}") != number)
    same_number = next(key for key in map(str, range(1000)) if Layout().partition_of(key) == number)
    await bus.ask(CreateTenant(tenant=elsewhere, name="Other"), META)
    await bus.ask(RemoveToken(tenant="demo", key=same_number), META)
    assert len(noting.went) == 2


async def test_a_write_of_a_partner_is_HTTP_503_with_Retry_After_and_a_read_is_served(tmp_path: Path) -> None:
    hub, behind = Hub(tmp_path), Behind(0)
    hub.use(RefusingBus(hub.bus, behind, Layout(), LIMIT))
    await hub.connect()
    c = token_header("token-c")
    checked(await hub.client.put(URL, headers=c, json=token()), 201)
    behind.seconds = 11
    refused = await hub.client.put(URL, headers=c, json=token(last_updated="2026-03-01T11:30:00Z"))
    checked(refused, 503, 3000)
    assert int(refused.headers["Retry-After"]) >= 1
    assert checked(await hub.client.get(URL, headers=c)) == token()
    await hub.close()
