"""A gateway process that begins anew ends what its forerunner left behind; pongs are signs of life."""

from __future__ import annotations

from dataclasses import replace

from commands.base import Meta
from commands.charge_point import Connect, See
from domain.charge_point import ChargePointDisconnected, charge_point_key
from tests.gateway.ocpp.fakes import NOON, QUICK, World, eventually, world


async def left_behind(w: World, id: str, boot: str = "dead") -> None:
    """A connection that the read models show on this node."""
    if id != "CP-1":
        await w.charge_point(id)
    command = Connect(tenant="demo", charge_point_id=id, node="gw-test", slot=1, boot=boot)
    await w.bus.ask(command, Meta(command_id=f"connect {id}", at=NOON))
    epoch = w.bus.of(charge_point_key("demo", id)).version
    w.directory.connected.setdefault("gw-test", []).append(("demo", id, epoch))


async def test_connections_of_the_process_before_are_ended_at_the_start() -> None:
    w = World()
    w.tenant()
    await w.charge_point()
    await left_behind(w, "CP-1")
    await left_behind(w, "CP-2")
    await left_behind(w, "CP-3", boot=w.channel.boot)
    w.port = await w.gateway.start("127.0.0.1", 0)
    try:
        event = await w.bus.until(ChargePointDisconnected, 2)
        assert event.reason == "gateway lost"
        assert [w.state(id).connection is None for id in ("CP-1", "CP-2", "CP-3")] == [True, True, False]
    finally:
        await w.gateway.stop()


async def test_a_pong_is_told_where_no_heartbeat_comes_J_18() -> None:
    options = replace(QUICK, ping_every=0.05, silent_after=5.0, seen_every=0.1)
    async with world(options) as w:
        w.tenant(heartbeat_interval=0)
        async with w.connected():
            await eventually(lambda: any(isinstance(command, See) for command in w.bus.told))
            (epoch,) = {command.epoch for command in w.bus.told if isinstance(command, See)}
            assert epoch == w.state().connection.epoch
