"""What gateways report of the handshakes that they refused."""

from __future__ import annotations

from typing import ClassVar

from commands.base import Accepted, Area, Command, Meta, Outcome, Refusal, Rejected, Route
from domain.knocking import HandshakesRefused, Knock, Knocking, knocking_aggregate_id

MOST_KNOCKS = 50
"""Charge points and reasons in one report: the log is not an attacker's to fill."""


class ReportKnocks(Command, frozen=True, kw_only=True, tag="knocking.report.v1"):
    """Refused handshakes of one tenant since the last report; of the platform where it is empty."""

    area: ClassVar[Area] = Area.PARTY
    remembered: ClassVar[bool] = False
    tenant: str
    knocks: tuple[Knock, ...]
    left_out: int = 0

    @property
    def aggregate_id(self) -> str:
        return knocking_aggregate_id(self.tenant)


def report(knocking: Knocking, command: ReportKnocks, meta: Meta) -> Outcome:
    if len(command.knocks) > MOST_KNOCKS:
        return Rejected(Refusal.INVALID, f"knocks: must be at most {MOST_KNOCKS}")
    if command.knocks or command.left_out:
        knocking.trigger(HandshakesRefused, meta.at, knocks=command.knocks, left_out=command.left_out)
    return Accepted()


ROUTES: dict[type[Command], Route] = {ReportKnocks: Route(Knocking, report)}
