"""A tag that may charge at one charge point at a time is released with whatever ends its transaction.

With its stop, whoever ends it, and once its connector is free again, because its stop may only be late.
"""

from __future__ import annotations

from functools import wraps

from commands.base import Command, Handler, Meta, Outcome
from domain.charge_point import ChargePoint, TagReleased


def releasing(handler: Handler) -> Handler:
    """The handler, and after it the release of every tag whose transaction it has ended."""

    @wraps(handler)
    def decide(charge_point: ChargePoint, command: Command, meta: Meta) -> Outcome:
        outcome = handler(charge_point, command, meta)
        state = charge_point.state
        if state.held_tags:
            running = {one.session_id for one in state.open.values() if one.left_at is None}
            for session_id, tag in list(state.held_tags.items()):
                if session_id not in running:
                    charge_point.trigger(
                        TagReleased,
                        meta.at,
                        tenant=state.tenant,
                        charge_point_id=state.charge_point_id,
                        session_id=session_id,
                        tag=tag,
                    )
        return outcome

    return decide
