"""The page on extending: its code runs, and the files that it points to are there."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_code_of_the_page_runs_from_top_to_bottom(tmp_path: Path) -> None:
    example = tmp_path / "example.py"
    example.write_text("\n\n".join(BLOCKS))
    names = runpy.run_path(str(example))
    assert names["works"].kind == "REPAVING"
    assert names["message"].charging_station.model == "Uno"
    assert names["old"] == names["new"]


def test_every_block_begins_with_the_file_where_such_code_belongs() -> None:
    assert len(BLOCKS) == 9
    for block in BLOCKS:
        assert re.match(r"# (?:protocols|domain|tests/protocols|tests/domain)/\S+\.py\n", block), block[:80]


@pytest.mark.parametrize(
    "path",
    sorted(set(re.findall(r"`((?:protocols|domain|tests)/[\w/.-]+)`", PAGE))),
)
def test_every_path_that_the_text_names_exists(path: str) -> None:
    assert (ROOT / path).exists()
