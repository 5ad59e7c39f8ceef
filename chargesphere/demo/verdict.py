"""What became of the charges: counted at the charge points, at the eMSP and through `/api/v1`, and compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from rich.table import Table

from chargesphere.demo.charge_point import Charge, SimulatedChargePoint
from chargesphere.demo.emsp import Emsp

Item = Mapping[str, Any]


@dataclass(slots=True)
class Verdict:
    """`lag` in seconds from the end of a charge to its CDR at the eMSP, the longest."""

    started: int = 0
    finished: int = 0
    issued: int = 0
    delivered: int = 0
    retried: int = 0
    refused_cards: int = 0
    authorizations: int = 0
    commands: int = 0
    command_results: int = 0
    session_pushes: int = 0
    resent: int = 0
    lag: float = 0.0
    problems: list[str] = field(default_factory=list)

    @property
    def settled(self) -> bool:
        """Whether nothing is on its way any more."""
        return self.started == self.finished == self.issued == self.delivered

    @property
    def good(self) -> bool:
        """Exit status 0: something was charged, all of it was delivered, and nobody broke a rule."""
        return self.finished > 0 and self.settled and not self.problems


def judge(
    devices: Mapping[str, Sequence[SimulatedChargePoint]],
    emsp: Emsp,
    sessions: Mapping[str, Sequence[Item]],
    cdrs: Mapping[str, Sequence[Item]],
) -> Verdict:
    """Devices, sessions and CDRs by tenant. `problems` names each charge that did not become what it should."""
    verdict = Verdict(
        authorizations=emsp.authorizations,
        commands=emsp.commands,
        command_results=emsp.command_results,
        session_pushes=emsp.session_pushes,
        problems=list(emsp.violations),
    )
    for tenant, own in devices.items():
        known = {(s["charge_point_id"], s["transaction_id"]): s for s in sessions.get(tenant, ())}
        priced = {str(c["id"]): c for c in cdrs.get(tenant, ())}
        for device in own:
            verdict.resent += device.resent
            for charge in device.charges:
                verdict.started += 1
                if charge.finished:
                    verdict.finished += 1
                    session = known.get((device.identity, charge.transaction_id))
                    _judge(
                        verdict, f"{device.identity}/{charge.transaction_id}", charge, session, priced, emsp
                    )
    return verdict


def _judge(
    verdict: Verdict,
    name: str,
    charge: Charge,
    session: Item | None,
    priced: Mapping[str, Item],
    emsp: Emsp,
) -> None:
    if session is None:
        return
    if charge.status != "Accepted":
        verdict.problems.append(f"{name}: its card was {charge.status} at the start")
    document = priced.get(str(session["id"]))
    if document is None:
        return
    verdict.issued += 1
    delivery = document.get("delivery") or {}
    verdict.retried += int(delivery.get("retries") or 0)
    body = emsp.cdrs.get(str(session["id"]).lower())
    if body is None or delivery.get("state") != "delivered":
        return
    verdict.delivered += 1
    verdict.lag = max(verdict.lag, emsp.cdr_seconds(str(session["id"]), charge.stopped_at))
    charged = Decimal(charge.meter_stop - charge.meter_start) / 1000
    if Decimal(str(body["total_energy"])) != charged:
        verdict.problems.append(f"{name}: charged {charged} kWh, the CDR says {body['total_energy']}")
    token = body["cdr_token"]
    if not isinstance(token, dict) or str(token.get("uid")).upper() != charge.id_tag.upper():
        verdict.problems.append(f"{name}: the CDR names another card")


def table_of(verdict: Verdict) -> Table:
    """The table at the end of a demo."""
    table = Table(title="ChargeSphere demo")
    table.add_column("what")
    table.add_column("count", justify="right")
    rows = {
        "charges started": verdict.started,
        "charges finished": verdict.finished,
        "CDRs issued": verdict.issued,
        "CDRs delivered": verdict.delivered,
        "pushes retried": verdict.retried,
        "longest lag from the end of a charge to its CDR": f"{verdict.lag:.1f} s",
        "authorizations in real time": verdict.authorizations,
        "commands of the eMSP": verdict.commands,
        "what became of them": verdict.command_results,
        "session pushes": verdict.session_pushes,
        "cards refused": verdict.refused_cards,
        "messages sent again by charge points": verdict.resent,
        "problems": len(verdict.problems),
    }
    for what, count in rows.items():
        table.add_row(what, str(count))
    return table
