"""The charge point's events stand in the log for ever: each equals its golden file and folds as it always did."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid5

import msgspec
import pytest

from domain.aggregate import Event, EventRegistry, UnknownEventError, event_name
from domain.charge_point import AGGREGATE_EVENTS, ChargePoint, charge_point_key, session_id

GOLDEN = Path(__file__).parents[1] / "golden" / "charge_point"
REGISTRY = EventRegistry({ChargePoint: AGGREGATE_EVENTS})
FILES = sorted(GOLDEN.glob("*.json"))


def golden(name: str) -> bytes:
    return (GOLDEN / f"{name}.json").read_bytes().strip()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_event_is_read_and_written_as_its_golden_file_says(file: Path) -> None:
    data = file.read_bytes().strip()
    event = REGISTRY.decode(data)
    assert event_name(event) == file.stem
    assert msgspec.json.encode(event) == data
    assert REGISTRY.decode(msgspec.json.encode(event)) == event


def test_every_event_has_a_golden_file() -> None:
    assert {file.stem for file in FILES} >= {event_name(event) for event in AGGREGATE_EVENTS}


def test_every_golden_event_can_be_folded_by_a_charge_point() -> None:
    aggregate = ChargePoint.blank("charge_point|demo|CP-1")
    for event in AGGREGATE_EVENTS:
        example = REGISTRY.decode(golden(event_name(event)))
        example.apply(aggregate)
    assert aggregate.state.tenant == "demo"


def test_an_event_of_a_newer_release_is_not_skipped() -> None:
    with pytest.raises(UnknownEventError):
        REGISTRY.decode(b'{"type":"charge_point.registered.v9","aggregate":"a","version":1}')


def test_ids_are_made_from_the_tenant_and_the_charge_point_alone() -> None:
    assert charge_point_key("demo", "CP-1") == "charge_point|demo|CP-1"
    assert session_id("demo", "CP-1", 7) == str(
        uuid5(UUID("7c0f1f5e-6b1d-4f0e-9a55-3f6b8f0c2d11"), "demo|CP-1|7")
    )
    assert session_id("acme", "CP-1", 7) != session_id("demo", "CP-1", 7)


def test_of_two_running_transactions_on_a_connector_the_first_comes_first() -> None:
    aggregate = ChargePoint.blank("charge_point|demo|CP-1")
    started = REGISTRY.decode(golden("charge_point.transaction_started.v1"))
    earlier = started.happened_at - timedelta(hours=1)
    events: list[Event] = [
        msgspec.structs.replace(started, originator_version=1),
        msgspec.structs.replace(
            started, originator_version=2, occurred_at=earlier, transaction_id=99, key="k"
        ),
    ]
    for event in events:
        event.mutate(aggregate)
    assert [number for number, _ in aggregate.running_on(1)] == [99, 7]
