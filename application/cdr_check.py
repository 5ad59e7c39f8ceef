"""A CDR of others priced again: by the tariffs that it carries, else by those that its CPO has put here.

Where prices go by local time and the location's time zone is not known, a difference says nothing: then it is not
checked. It is bounded whatever a CDR holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from domain.foreign_cdr import CdrCheck, CdrDifference
from domain.pricing import Check, PricingError, Tariff, check_cdr, explain, tariff_from_json, to_json
from domain.values import PartyId, plain_json
from projections.store import HUB, ReadStore
from projections.tariff import tariff_document_id
from protocols.ocpi import decode, dump_json, v2_3_0

ZONE: Final = "UTC"
MOST_LINES: Final = 100
"""Of an explanation, and of warnings."""
LONGEST_LINE: Final = 1_000
_LOCAL: Final = ("start_time", "end_time", "start_date", "end_date", "day_of_week")


async def checked(
    store: ReadStore, cdr: v2_3_0.CDR, owner: PartyId, source: str, audience: PartyId
) -> CdrCheck:
    """`source` is the platform that posts it, whose tariffs count alone; `audience` is the party that it is for: what
    its CPO said to it alone comes first. Raises StoreUnavailableError."""
    body = dump_json(cdr)
    warnings: list[str] = []
    tariffs: list[Tariff] | None = None
    if not cdr.tariffs:
        tariffs = await _put_here(store, cdr, owner, source, audience)
        if not tariffs:
            said = "it carries no tariff, and its CPO has put none here that its periods name"
            return CdrCheck(outcome="not_checked", warnings=(said,))
        warnings.append("it carries no tariff: priced by what its CPO has put here, as that is now")
    # A large one takes its time: others go on meanwhile.
    check = await asyncio.to_thread(check_cdr, body, ZONE, tariffs)
    outcome = "equal" if check.equal else "differs"
    if not check.equal and _is_local(cdr, tariffs):
        outcome = "not_checked"
        warnings.append("its prices go by local time, and the time zone of its location is not known")
    return _said(outcome, check, [*warnings, *check.warnings])


async def _put_here(
    store: ReadStore, cdr: v2_3_0.CDR, owner: PartyId, source: str, audience: PartyId
) -> list[Tariff]:
    """The tariffs that its periods name, as far as they are known; none of who spoke for its CPO before."""
    names = dict.fromkeys(period.tariff_id for period in cdr.charging_periods if period.tariff_id)
    found: list[Tariff] = []
    for name in list(names)[:MOST_LINES]:
        places = tariff_document_id(owner, name, audience), tariff_document_id(owner, name)
        documents = await store.get_many(HUB, "tariffs", places)
        said = [documents[place] for place in places if place in documents]
        document = next((one for one in said if one["holder"] == source), None)
        if document is not None:
            found.append(tariff_from_json(_exact(document["tariff"])))
    return found


def _exact(value: object) -> Any:
    return decode(msgspec.json.encode(value))


def _is_local(cdr: v2_3_0.CDR, tariffs: Sequence[Tariff] | None) -> bool:
    told: list[Mapping[str, Any]] = [dump_json(one) for one in cdr.tariffs]
    told += [to_json(one) for one in tariffs or ()]
    for tariff in told:
        for element in tariff["elements"]:
            restrictions = element.get("restrictions") or {}
            if any(restrictions.get(name) for name in _LOCAL):
                return True
    return False


def _said(outcome: str, check: Check, warnings: Sequence[str]) -> CdrCheck:
    total = None
    if check.cost is not None:
        try:
            total = plain_json(to_json(check.cost.total.as_price()))
        except ValueError:
            outcome = "not_checked"
            warnings = [*warnings, "what it comes to has too many digits"]
    return CdrCheck(
        outcome=outcome,
        differences=tuple(
            CdrDifference(
                path=one.path[:100],
                stated=one.stated,
                expected=one.expected,
                why=one.why[:LONGEST_LINE],
            )
            for one in check.differences[:MOST_LINES]
        ),
        warnings=_bounded(warnings),
        explanation=_bounded(_explained(check)),
        total_cost=total,
    )


def _explained(check: Check) -> Sequence[str]:
    try:
        return explain(check.cost) if check.cost is not None else ()
    except PricingError:
        return ()


def _bounded(lines: Sequence[str]) -> tuple[str, ...]:
    kept = tuple(line[:LONGEST_LINE] for line in lines[:MOST_LINES])
    return kept if len(lines) <= MOST_LINES else (*kept, f"and {len(lines) - MOST_LINES} lines more")
