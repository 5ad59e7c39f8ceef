"""`docs/commands.md` names every status, every action with a rule, and every setting that it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from commands.charge_point import call_rules
from commands.remote_command_request import COMMANDS, PUBLIC_NAMES
from commands.remote_command_rules import RULES
from domain.intents import Intent
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


def test_the_page_says_what_each_command_is_called_in_the_log_and_in_ocpp_1_6() -> None:
    names: dict[type[Intent], list[str]] = {}
    for name, kind in COMMANDS.items():
        names.setdefault(kind, []).append(f"`{name}`")
    expected = {
        f"| {', '.join(public)} | `{kind.__struct_config__.tag}` | {CALLS[kind]} |"
        for kind, public in names.items()
    }
    table = PAGE[PAGE.index("## What it is called") :].splitlines()
    assert {line for line in table if line.startswith("| `") and "command_type" not in line} == expected
    assert all(f"`{field}`" in PAGE and f"`{name}`" in PAGE for field, name in PUBLIC_NAMES.values())
