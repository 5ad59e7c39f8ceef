"""What docs/schedules.md says of refusals and differences is what the code has."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "schedules.md").read_text()


def test_the_page_lists_every_refusal_code_and_no_other() -> None:
    source = (ROOT / "domain" / "schedules" / "stack.py").read_text()
    codes = set(re.findall(r'(?:Refusal|refuse)\(\s*"(\w+)"', source))
    rows = re.findall(r"^\| .*? \| (`\w+`(?:, `\w+`)*) \|$", PAGE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == codes
    assert len(codes) > 10


def test_the_page_names_every_reason_of_a_difference() -> None:
    source = (ROOT / "domain" / "schedules" / "compare.py").read_text()
    reasons = {"higher", "lower", "phases", "not_reported", "not_expected"}
    assert all(f'"{reason}"' in source and f"`{reason}`" in PAGE for reason in reasons)
