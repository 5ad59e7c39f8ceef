"""The tables of docs/ocpi-objects.md, made from the types: `python -m protocols.ocpi.document` prints the page.

What enters are the models of both versions, what leaves is Markdown. A test holds that the page in docs is what is
printed here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

from protocols.ocpi import v2_2_1, v2_3_0
from protocols.ocpi.shape import Shape, shapes
from protocols.ocpi.types import OcpiModel
from protocols.ocpi.v2_2_1 import enums as enums_2_2_1
from protocols.ocpi.v2_3_0 import enums as enums_2_3_0

HEAD: Final = """\
# OCPI objects

Made from the types by `python -m protocols.ocpi.document > docs/ocpi-objects.md`; a test fails when it is not up to
date. 2.3.0 is the union of the core (edition 2), invoice reconciliation, payments and bookings 1.1.

A type is read as the standard names it: `CiString(36)` is printable ASCII of at most 36 characters, compared without
case; `string` has no control characters; `number` is an exact decimal; `DateTime` is written in UTC with `Z`.
How often a field may occur: `1` once, `?` null or absent, `*` null, `[]` and absent alike, `+` at least one.
Unknown fields are kept and written back. Of duplicate keys in a body the last one wins.

## What is read more leniently than the text says

| what | how it is read |
|---|---|
| DateTime without a designator; with an offset | as UTC; converted to UTC. The fraction is kept to microseconds |
| `1970-1-1T00:00:00Z` | in `start_date_time` and `end_date_time` of CDRs and charging periods |
| `int` sent as `16.0` | as 16 |
| coordinates | one character longer than their length where the regular expression allows it |
| `CdrLocation.address`, `.state` | up to 255 and 45 characters, as in Location; `cdr_location` writes 45 and 20 |
| `InvoiceReconciliationRecord.cdrs` | ids of 39 characters, as credit CDRs have them |
| `SessionStatus` RESERVED, `ReservationStatus` FULLFILLED, `Role` PTP | as RESERVATION, FULFILLED, OTHER |
| enumerations that 2.3.0 opened | in 2.2.1 too: an unknown value survives |
| `RegularHours` | may end at `24:00` |
| `step_size` | may be 0 |
| session-only dimensions in a CDR, `publish_allowed_to` of a published Location | kept |

How a module or a version is added: [extending.md](extending.md).
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, "## Objects", "", *_objects(), "## Enumerations", "", *_enumerations()]) + "\n"


def _objects() -> Iterator[str]:
    for module, models in v2_3_0.MODULES.items():
        yield f"### {module}" + ("" if module in v2_2_1.MODULES else " (not in 2.2.1)")
        yield ""
        for model in models:
            yield from _object(model, v2_2_1.OBJECTS.get(model.__name__))


def _object(model: type[OcpiModel], older: type[OcpiModel] | None) -> Iterator[str]:
    purpose = (model.__doc__ or "").strip().splitlines()[0]
    yield f"**{model.__name__}**: {purpose}"
    yield ""
    fields, before = shapes(model), shapes(older) if older else {}
    differs = older is not None and any(
        _cell(fields.get(n)) != _cell(before.get(n)) for n in {*fields, *before}
    )
    yield "| field | type | card. |" + (" 2.2.1 |" if differs else "")
    yield "|---|---|---|" + ("---|" if differs else "")
    for name in [*fields, *(name for name in before if name not in fields)]:
        shape, was = fields.get(name), before.get(name)
        row = f"| `{name}` | {shape.name} | {shape.card} |" if shape else f"| `{name}` | – | – |"
        yield row + ((" = |" if _cell(shape) == _cell(was) else f" {_cell(was)} |") if differs else "")
    yield ""


def _cell(shape: Shape | None) -> str:
    return f"{shape.name} {shape.card}" if shape else "–"


def _enumerations() -> Iterator[str]:
    opened = {s.name for m in v2_3_0.OBJECTS.values() for s in shapes(m).values() if s.is_open_enum}
    opened.add("CommandType")
    for name, enum in sorted(vars(enums_2_3_0).items()):
        if not (isinstance(enum, type) and issubclass(enum, StrEnum) and enum is not StrEnum):
            continue
        older: type[StrEnum] = getattr(enums_2_2_1, name, enum)
        values, known = [m.value for m in enum], [m.value for m in older]
        line = f"- **{name}**{' (open)' if name in opened else ''}: " + ", ".join(f"`{v}`" for v in values)
        missing = [f"`{value}`" for value in values if value not in known]
        gone = [f"`{value}`" for value in known if value not in values]
        line += f"; not in 2.2.1: {', '.join(missing)}" if missing else ""
        line += f"; only in 2.2.1: {', '.join(gone)}" if gone else ""
        yield line


if __name__ == "__main__":
    sys.stdout.write(page())
