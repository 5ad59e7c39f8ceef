"""docs/ocpi-objects.md is what the types say."""

from __future__ import annotations

from pathlib import Path

from protocols.ocpi import v2_3_0
from protocols.ocpi.document import page

PAGE = Path(__file__).parents[3] / "docs" / "ocpi-objects.md"


def test_the_page_in_docs_is_made_from_the_types() -> None:
    assert PAGE.read_text() == page(), "run: python -m protocols.ocpi.document > docs/ocpi-objects.md"


def test_the_page_names_every_object_and_what_2_2_1_has_otherwise() -> None:
    text = page()
    assert all(f"**{name}**" in text for name in v2_3_0.OBJECTS)
    assert "| `hub_party_id` | CiString(5) | ? | – |" in text
    assert "| `excl_vat` | – | – | number 1 |" in text
    assert "| `min_price` | PriceLimit | ? | Price ? |" in text
    assert "only in 2.2.1: `HUB`" in text
