"""The forms of everything in the log stand in a file: a change that an older release would misread is found here.

What a name and its version mean is kept for ever. Of a form only this may change: a field comes that has a default
and that an older release may pass over. Anything else is a new version with an upcaster (docs/extending.md).

`python -m tests.streams.log.test_forms` writes the file anew.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from chargesphere import registry
from commands.base import Command, Downlink, TimerDue
from domain.aggregate import Event
from domain.upcasting import current_name, names
from projections.frame import FrameRecord
from streams.following.parking import Parked
from streams.log.envelope import Claim, CommandRecord, Decision

FILE = Path(__file__).parents[2] / "golden" / "forms.txt"
NAMED: tuple[type[msgspec.Struct], ...] = (*registry.EVENTS.events.values(), *registry.ROUTES, TimerDue)
RECORDS: tuple[type[msgspec.Struct], ...] = (CommandRecord, Decision, Claim, Downlink, FrameRecord, Parked)


def _kind(form: type[msgspec.Struct]) -> str:
    return "event" if issubclass(form, Event) else "command"


OLDER = frozenset(f"{_kind(form)} {name}" for form in NAMED for name in names(form)[:-1])
"""Names of which there is no class any more, but an upcaster."""

Lines = dict[str, str]
"""What a form holds: a type by its field, or what an enumeration may be."""


def forms(*roots: type[msgspec.Struct]) -> dict[str, Lines]:
    """These structs, and whatever they hold, by their names."""
    found: dict[str, Lines] = {}
    named: dict[str, type[Any]] = {}
    todo: list[Any] = list(roots)
    while todo:
        part = todo.pop()
        name = _name(part)
        if named.setdefault(name, part) is not part:
            raise ValueError(f"two parts of forms are named {name}")
        if name in found:
            continue
        if issubclass(part, enum.Enum):
            found[name] = {repr(member.value): "value" for member in part}
            continue
        found[name] = {}
        for field in msgspec.structs.fields(part):
            found[name][field.encode_name] = _text(field.type) + ("" if field.required else "?")
            todo.extend(_parts(field.type))
    return found


def _name(part: type[Any]) -> str:
    if issubclass(part, (Event, Command)):
        return f"{_kind(part)} {current_name(part)}"
    return part.__qualname__


def _is_part(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, (msgspec.Struct, enum.Enum))


def _parts(kind: Any) -> Iterator[type[Any]]:
    if _is_part(kind):
        yield kind
    for argument in get_args(kind):
        yield from _parts(argument)


def _text(kind: Any) -> str:
    if get_args(kind):
        head = str(getattr(kind, "__origin__", "")).rpartition(".")[2].strip("'<>") or "|"
        return f"{head}[{', '.join(_text(argument) for argument in get_args(kind))}]"
    return getattr(kind, "__qualname__", repr(kind))


def written(found: Mapping[str, Lines]) -> str:
    return "\n".join(
        "\n".join([name, *(f"  {field}: {kind}" for field, kind in sorted(found[name].items()))])
        for name in sorted(found)
    )


def read(text: str) -> dict[str, Lines]:
    found: dict[str, Lines] = {}
    name = ""
    for line in text.splitlines():
        if line.startswith("  "):
            field, _, kind = line.strip().partition(": ")
            found[name][field] = kind
        else:
            name = line
            found[name] = {}
    return found


def misread(before: Mapping[str, Lines], now: Mapping[str, Lines], older: frozenset[str]) -> list[str]:
    """What an older release would misread of what is written now, or this one of what was written before."""
    out: list[str] = []
    for name, lines in before.items():
        if name not in now:
            if name not in older:
                out.append(f"{name} is gone, and nothing reads it")
            continue
        for field, kind in lines.items():
            if now[name].get(field) != kind:
                out.append(f"{name}: {field} was {kind} and is {now[name].get(field, 'gone')}")
        out.extend(
            f"{name}: {field} is new and is {kind}"
            for field, kind in now[name].items()
            if field not in lines and not kind.endswith("?")
        )
    return out


HELD = forms(*NAMED, *RECORDS)


def test_no_form_has_changed_so_that_another_release_misreads_it() -> None:
    assert misread(read(FILE.read_text()), HELD, OLDER) == []


def test_the_file_holds_every_form_of_this_release() -> None:
    """Once what changed is as it should be, write it anew; forms that have an upcaster stay in it."""
    held = read(FILE.read_text())
    assert {name: lines for name, lines in held.items() if name not in OLDER} == HELD
    assert held.keys() >= OLDER


class _Kind(enum.StrEnum):
    ONE = "one"


class _Form(msgspec.Struct):
    amount: int
    kind: _Kind | None = None


BEFORE = forms(_Form)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_Form": {"amount": "str", "kind": BEFORE["_Form"]["kind"]}}, "_Form: amount was int and is str"),
        ({"_Form": {"kind": BEFORE["_Form"]["kind"]}}, "_Form: amount was int and is gone"),
        ({"_Form": BEFORE["_Form"] | {"unit": "str"}}, "_Form: unit is new and is str"),
        ({"_Form": BEFORE["_Form"] | {"unit": "str?"}}, None),
        ({"_Kind": BEFORE["_Kind"] | {"'two'": "value"}}, "_Kind: 'two' is new and is value"),
    ],
    ids=["other type", "gone", "needed", "optional", "another value"],
)
def test_what_another_release_would_misread_is_found(change: dict[str, Lines], said: str | None) -> None:
    assert misread(BEFORE, BEFORE | change, frozenset()) == ([said] if said else [])


def test_a_form_may_go_where_an_upcaster_reads_it() -> None:
    assert misread({"a.b.v1": {}}, {"a.b.v2": {}}, frozenset({"a.b.v1"})) == []
    assert misread({"a.b.v1": {}}, {"a.b.v2": {}}, frozenset()) == ["a.b.v1 is gone, and nothing reads it"]


if __name__ == "__main__":
    kept = read(FILE.read_text()) if FILE.exists() else {}
    FILE.write_text(written({name: kept[name] for name in kept.keys() & OLDER} | HELD) + "\n")
