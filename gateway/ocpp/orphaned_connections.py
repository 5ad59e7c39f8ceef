"""The connections of a process that died: what the read models still show as held by this node is told to be over.

In: the directory's word at the start. Out: one `Disconnect` for each, a bounded number a second. It never ends a
connection of this process: the decision knows the boot id. What the read models did not show yet ends by its silence.
"""

from __future__ import annotations

import asyncio
import logging

from application.ports import DirectoryUnavailableError
from commands.base import Meta
from commands.charge_point import Disconnect
from gateway.ocpp.registry import Registry
from gateway.ocpp.services import Services
from streams.log import LogUnavailableError

logger = logging.getLogger(__name__)

REASON = "gateway lost"
_PAUSE = 5.0


async def end_lost_connections(services: Services, registry: Registry) -> None:
    """Once, soon after the start; again from the beginning where the store or the log was away."""
    await asyncio.sleep(services.options.lost_after)
    while True:
        try:
            count = await _end_all(services, registry)
        except (DirectoryUnavailableError, LogUnavailableError):
            await asyncio.sleep(_PAUSE)
            continue
        except Exception:
            logger.exception("the connections of the process before this one could not be ended")
            return
        if count:
            logger.warning("%d connections of the process before this one were ended", count)
        return


async def _end_all(services: Services, registry: Registry) -> int:
    channel, count = services.channel, 0
    async for tenant, charge_point_id, epoch in services.directory.connected_on(channel.node):
        held = registry.get(tenant, charge_point_id)
        if held is not None and held.epoch >= epoch:
            continue
        command = Disconnect(
            tenant=tenant,
            charge_point_id=charge_point_id,
            epoch=epoch,
            reason=REASON,
            except_boot=channel.boot,
        )
        meta = Meta(
            command_id=f"lost|{tenant}|{charge_point_id}|{epoch}|{channel.boot}",
            at=services.clock(),
            tenant=tenant,
            principal="gateway",
        )
        await services.bus.tell(command, meta)
        count += 1
        await asyncio.sleep(1 / services.options.lost_per_second)
    return count
