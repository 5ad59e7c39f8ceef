"""Names that docs/extending.md keeps for what is to come: nobody else takes them, and each key is an object's own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from chargesphere import registry
from commands.base import Area, command_name
from domain.aggregate import event_name

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTION = PAGE.partition("## Names that are taken")[2].partition("\n## ")[0]


class Kept(NamedTuple):
    """One line of the table."""

    area: str
    kind: str
    key: str


KEPT = [
    Kept(*(cell.replace("\\|", "|") for cell in cells))
    for cells in re.findall(r"^\| `([a-z-]+)` \| `([a-z_]+)` \| `([^`]+)` \|", SECTION, re.MULTILINE)
]
KINDS = {aggregate.kind for aggregate in registry.AGGREGATES}
NAMES = {
    *map(event_name, registry.EVENTS.events.values()),
    *map(command_name, registry.ROUTES),
    *registry.EVENTS.names,
}


def test_what_is_to_come_has_its_areas_and_kinds() -> None:
    assert {kept.area for kept in KEPT} == {
        "reservation",
        "site",
        "user",
    }


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.kind)
def test_nobody_takes_a_name_that_is_kept_for_something_else(kept: Kept) -> None:
    assert kept.area not in {area.value for area in Area}
    assert kept.kind not in KINDS
    assert not [name for name in NAMES if name.partition(".")[0] == kept.kind]
    assert not (ROOT / "tests" / "golden" / kept.kind).exists()


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.kind)
def test_a_partition_key_that_is_kept_is_an_objects_own(kept: Kept) -> None:
    kind, owner, id = kept.key.split("|")
    assert (kind, id) == (kept.kind, "id") and owner in ("owner", "tenant")
