"""`docs/commands.md` names every status, every action with a rule, and every setting that it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.charge_point import call_rules
from commands.remote_command_rules import RULES
from domain.remote_command import FINAL
from domain.tenant import Features, MessageTimeouts
from gateway.ocpp.v16.calls import CALLS

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()


@pytest.mark.parametrize(
    "name",
    sorted(
        {"pending", "sent"}
        | FINAL
        | {CALLS[intent] for intent in (*RULES, *call_rules.ANNOUNCED, *call_rules.ALWAYS)}
        | set(Features.__struct_fields__)
        | set(MessageTimeouts.__struct_fields__)
    ),
)
def test_the_page_names_it(name: str) -> None:
    assert name in PAGE
