"""Golden files: what an event's name and version means in the log, for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from domain.aggregate import Aggregate, Event, EventRegistry, event_name

A = TypeVar("A", bound=Aggregate[Any])
GOLDEN = Path(__file__).parents[1] / "golden"


def golden(kind: str, name: str) -> bytes:
    """The bytes of one golden event."""
    return (GOLDEN / kind / f"{name}.json").read_bytes().strip()


def held_by_golden_files(aggregate: type[Aggregate[Any]], events: tuple[type[Event], ...]) -> None:
    """Every file is read and written as it stands, or, where it is of an older form, as the file beside it says
    (`….v1.now.json`); and every form of every event has one."""
    registry = EventRegistry({aggregate: events})
    files = {file.name.removesuffix(".json"): file for file in (GOLDEN / aggregate.kind).glob("*.json")}
    for name in registry.names:
        data = files.pop(name).read_bytes().strip()
        event = registry.decode(data)
        assert event_name(event) == registry.names[name]
        now = data if event_name(event) == name else files.pop(f"{name}.now").read_bytes().strip()
        assert msgspec.json.encode(event) == now
    assert not files


def story(aggregate: type[A], events: tuple[type[Event], ...], *names: str) -> A:
    """The aggregate after these golden events, in this order."""
    registry = EventRegistry({aggregate: events})
    found = [registry.decode(golden(aggregate.kind, name)) for name in names]
    folded = aggregate.blank(found[0].originator_id)
    for version, event in enumerate(found, start=1):
        msgspec.structs.replace(event, originator_version=version).mutate(folded)
    return folded
