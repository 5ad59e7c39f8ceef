"""What the bench says: quantiles, JSON with the machine's shape and the commit, and tables for people."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

JSON = Mapping[str, object]
QUANTILES = (0.5, 0.95, 0.99, 1.0)


def quantiles_ms(seconds: Iterable[float]) -> dict[str, float]:
    """p50, p95, p99 and max in milliseconds, and how many there are; only the count where there are none."""
    ordered = sorted(seconds)
    found: dict[str, float] = {"count": len(ordered)}
    if ordered:
        for share in QUANTILES:
            name = "max" if share == 1.0 else f"p{share * 100:g}"
            found[name] = round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 2)
    return found


def machine() -> dict[str, object]:
    """Where and on what this was measured."""
    told = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True, check=False
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": told.stdout.strip() + ("+changes" if changed.stdout.strip() else ""),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()


def write_json(path: Path, result: JSON) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


def print_rows(console: Console, title: str, rows: Mapping[str, Mapping[str, object]], first: str) -> None:
    """A table with a row for each key; columns are those of all rows, in order of appearance."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table(title=title)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(_text(row.get(column)) for column in columns))
    console.print(table)


def print_facts(console: Console, title: str, facts: Mapping[str, object]) -> None:
    """A table of single values."""
    print_rows(console, title, {name: {"value": value} for name, value in facts.items()}, "what")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return (
        ", ".join(map(str, value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else str(value)
    )
