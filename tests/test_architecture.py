"""The rooms and their arrows: what may import what, and what may not be reached at all."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from gateway.ocpp.v16.calls import CALLS

ROOT = Path(__file__).parents[1]
BELOW: dict[str, frozenset[str]] = {
    "domain": frozenset(),
    "protocols": frozenset({"domain"}),
    "commands": frozenset({"domain", "protocols"}),
    "projections": frozenset({"domain", "protocols", "commands"}),
    "streams": frozenset({"domain", "protocols", "commands", "projections"}),
    "application": frozenset({"domain", "protocols", "commands", "projections", "streams"}),
    "api": frozenset({"domain", "protocols", "commands", "projections", "streams", "application"}),
    "gateway": frozenset({"domain", "protocols", "commands", "projections", "streams", "application"}),
    "chargesphere": frozenset(
        {
            "domain",
            "protocols",
            "commands",
            "projections",
            "streams",
            "application",
            "api",
            "gateway",
            "bench",
        }
    ),
}
HOUSES: dict[str, frozenset[str]] = {
    "log": frozenset(),
    "following": frozenset({"log"}),
    "deciding": frozenset({"log", "following"}),
    "projecting": frozenset({"log", "following"}),
    "faust": frozenset({"log", "following", "projecting"}),
    "effects": frozenset({"log", "following", "deciding"}),
}
"""The folders of `streams`, and which others each may use."""
ROOMS = frozenset(BELOW) | {"bench", "tests"}
PURE = ("domain", "protocols", "commands")
IMPURE_MODULES = frozenset(
    {
        "asyncio",
        "socket",
        "sqlite3",
        "random",
        "secrets",
        "time",
        "os",
        "aiokafka",
        "pymongo",
        "redis",
        "httpx",
    }
)
CLOCKS = frozenset({"now", "utcnow", "today"})


def modules(room: str) -> list[Path]:
    return sorted(path for path in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The first names of everything that a module imports at run time."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(room)
        for name in imported(path) & ROOMS
        if name != room and name not in BELOW[room]
    }
    assert not wrong


@pytest.mark.parametrize("house", HOUSES)
def test_a_folder_of_streams_uses_only_what_lies_below_it(house: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports streams.{other}"
        for path in modules(f"streams/{house}")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("streams.")
        for other in [(node.module or "").split(".")[1]]
        if other != house and other not in HOUSES[house]
    }
    assert not wrong


@pytest.mark.parametrize("adapter", ["kafka", "sqlite"])
def test_only_the_composition_root_and_faust_know_an_adapter_of_the_log(adapter: str) -> None:
    """Faust reads Kafka itself; everybody else has the port."""
    prefix, own = f"streams.log.{adapter}", ROOT / "streams/log" / adapter
    knowing = {
        str(path.relative_to(ROOT))
        for room in BELOW
        if room != "chargesphere"
        for path in modules(room)
        if own not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(prefix)
    }
    assert knowing <= {"streams/faust/transport.py"}


V16 = ROOT / "gateway/ocpp/v16"
"""The one folder above the wire that knows OCPP 1.6."""
ONLY_IN_1_6 = frozenset(CALLS.values()) - {kind.__name__ for kind in CALLS}
"""What no other version calls so."""


def beside_v16() -> list[Path]:
    """Every module above the wire that may not know which version a charge point speaks."""
    rooms = sorted(set(BELOW) - {"protocols"})
    return [path for room in rooms for path in modules(room) if V16 not in path.parents]


def all_imported(path: Path) -> set[str]:
    """The full names of everything that a module imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def knowing(module: str) -> set[str]:
    """Which of them import it, or anything inside it."""
    return {
        str(path.relative_to(ROOT))
        for path in beside_v16()
        if any(name == module or name.startswith(f"{module}.") for name in all_imported(path))
    }


def test_ocpp_1_6_is_known_to_its_own_folder_of_the_gateway_alone() -> None:
    assert knowing("protocols.ocpp.v16") == set()
    assert knowing("gateway.ocpp.v16") == {"gateway/ocpp/versions.py"}


def test_nobody_else_has_its_words_for_what_is_asked_of_a_charge_point() -> None:
    assert len(ONLY_IN_1_6) == 6
    wrong = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for path in beside_v16()
        if "demo" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in ONLY_IN_1_6
    }
    assert not wrong


@pytest.mark.parametrize("room", PURE)
def test_decisions_and_wire_types_have_no_input_or_output(room: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(room)
        for name in imported(path) & IMPURE_MODULES
    }
    assert not wrong


@pytest.mark.parametrize("room", PURE)
def test_decisions_and_wire_types_read_no_clock(room: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in modules(room)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CLOCKS
    }
    assert not wrong


@pytest.mark.parametrize("room", BELOW)
def test_every_module_says_what_it_is(room: str) -> None:
    silent = {
        str(path.relative_to(ROOT))
        for path in modules(room)
        if not ast.get_docstring(ast.parse(path.read_text()))
    }
    assert not silent


def test_every_file_that_the_documentation_names_is_there() -> None:
    named = {
        (page.name, name)
        for page in (ROOT / "docs").glob("*.md")
        if page.name != "extending.md"  # which names files that its reader will write
        for name in re.findall(r"`((?:" + "|".join(BELOW) + r")/[\w/]+\.py)`", page.read_text())
    }
    assert named
    assert [(page, name) for page, name in sorted(named) if not (ROOT / name).is_file()] == []
