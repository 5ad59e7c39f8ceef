"""Every test that docs/guarantees.md names exists, and every rule names one.

The table of safeguards has four columns and is held by tests/simulation/test_ablations.py.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROWS = [
    line.strip("|").split("|")
    for line in (ROOT / "docs" / "guarantees.md").read_text().splitlines()
    if line.count("|") == len(("rule", "held by")) + 1
    and line.startswith("|")
    and not line.startswith(("| rule", "|---"))
]
NAMED = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")


@cache
def names_in(path: str) -> frozenset[str]:
    """`::test` and `::Class::test` of a file."""
    found: set[str] = set()

    def walk(body: list[ast.stmt], before: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{before}::{node.name}")
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(f"{before}::{node.name}")

    walk(ast.parse((ROOT / path).read_text()).body, "")
    return frozenset(found)


@pytest.mark.parametrize("row", ROWS, ids=[row[0].strip(" `")[:60] for row in ROWS])
def test_the_tests_that_hold_a_rule_exist(row: list[str]) -> None:
    rule, held_by = row
    named = NAMED.findall(held_by)
    assert named, rule
    assert len(named) == held_by.count("`") // 2, "something in backticks is no test id"
    for path, name in named:
        assert (ROOT / path).exists(), path
        assert name in names_in(path), f"{path}{name}"


def test_there_are_rules() -> None:
    assert len(ROWS) > 40
