"""The page of messages is what the types say."""

from __future__ import annotations

from pathlib import Path

from protocols.ocpp.document import document
from protocols.ocpp.v16 import REQUESTS

PAGE = Path(__file__).parents[3] / "docs" / "ocpp-messages.md"


def test_the_page_in_docs_is_the_generated_one() -> None:
    assert PAGE.read_text() == document(), "run: python -m protocols.ocpp.document > docs/ocpp-messages.md"


def test_the_page_has_every_action_once() -> None:
    lines = document().splitlines()
    assert all(lines.count(f"### {action}") == 1 for action in REQUESTS)


def test_a_row_states_name_cardinality_and_length() -> None:
    lines = document().splitlines()
    assert "| `chargePointSerialNumber` | 0..1 | text, at most 25 |" in lines
    assert "| `meterValue` | 1..* | [MeterValue](#metervalue) |" in lines
    assert "| `limit` | 1 | number, one decimal |" in lines
    assert "| `transactionData` | 0..* | [MeterReading](#meterreading) |" in lines
