"""What the README and the page on operations show can be done: their code runs, their tables are complete."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
import websockets

from api.ocpi.routes import MODULES
from chargesphere.cli import build_parser, main
from chargesphere.settings import NAMES, PREFIX
from tests.chargesphere.installation import SESSION, live
from tests.chargesphere.serving import Serving, run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(text: str, language: str) -> list[str]:
    return [body for found, body in BLOCK.findall(text) if found == language]


def lines(text: str) -> list[str]:
    """The lines of the shell blocks, without what stands behind a #."""
    found = (line.partition("#")[0].strip() for body in blocks(text, "sh") for line in body.splitlines())
    return [line for line in found if line]


COMMAND_LINES = [line for line in lines(OPERATIONS) if line.startswith("chargesphere ")]


def test_the_first_steps_of_the_readme_lead_to_a_connected_charge_point(tmp_path: Path) -> None:
    [serve, token] = [
        shlex.split(line) for line in lines(README) if line.startswith(".venv/bin/chargesphere")
    ]
    assert build_parser().parse_args(serve[1:]).command == "serve"
    data = tmp_path / "data"
    serving = Serving(data)
    try:
        serving.wait_until_ready()
        printed = run(*[str(data) if word == "./data" else word for word in token[1:]]).stdout.strip()
        scope: dict[str, object] = {}
        [code] = blocks(README, "python")
        exec(compile(code, "README.md", "exec"), scope)  # noqa: S102
        first = cast("Callable[[str, str], tuple[str, str]]", scope["first_charge_point"])
        path, password = first(serving.url, printed)
        assert asyncio.run(handshake(serving.lines[0], path)) == 401
        assert asyncio.run(handshake(serving.lines[0], path, password)) == 101
    finally:
        assert serving.end(signal.SIGTERM) == 0


async def handshake(line: str, path: str, password: str = "") -> int:
    """Its status, with the password or without: the charge point is known."""
    url = line.split()[2].partition("/ocpp")[0]
    subprotocol = websockets.Subprotocol("ocpp1.6")
    user = path.rpartition("/")[2]
    login = base64.b64encode(f"{user}:{password}".encode()).decode()
    headers = {"authorization": f"Basic {login}"} if password else {}
    try:
        async with websockets.connect(url + path, subprotocols=[subprotocol], additional_headers=headers):
            return 101
    except websockets.InvalidStatus as refused:
        return refused.response.status_code


def test_the_readme_names_the_ocpi_modules_that_are_served() -> None:
    [row] = [line for line in README.splitlines() if line.startswith("| `/ocpi/versions`")]
    assert {module for _, module in MODULES} == {
        "commands",
        "locations",
        "tokens",
        "sessions",
        "cdrs",
        "tariffs",
    }
    assert all(f"`{module}`" in row for _, module in MODULES)


def test_the_makefile_has_every_target_of_the_readme() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make (\w+)", " ".join(lines(README))):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_table_of_settings_is_complete() -> None:
    table = README.partition("## Settings")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `([A-Z_]+)`", table, re.MULTILINE)) == NAMES


def test_the_table_of_operations_names_every_other_command() -> None:
    table = README.partition("## For the operator")[2].partition("\n## ")[0]
    named = {words.split()[0] for words in re.findall(r"^\| `chargesphere ([\w -]+)`", table, re.MULTILINE)}
    commands = set(re.findall(r"^    ([a-z-]+)", build_parser().format_help(), re.MULTILINE))
    processes = {"serve", "demo", "gateway", "api", "decider", "projector", "effects", "worker"}
    assert named == commands - processes


@pytest.mark.parametrize("page", ["README.md", *sorted(p.name for p in (ROOT / "docs").glob("*.md"))])
def test_every_link_leads_to_a_file(page: str) -> None:
    path = ROOT / page if page == "README.md" else ROOT / "docs" / page
    for link in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
        assert "://" in link or (path.parent / link).exists(), link


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operations")
    asyncio.run(live(folder / "data"))
    return folder


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_a_command_of_the_operations_page_does_what_it_says(
    line: str,
    lived: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    spoken = line.replace("SESSION_OR_CORRELATION_ID", SESSION).replace("SESSION_ID", SESSION)
    spoken = spoken.replace("2026-03-01T12:00:00Z", "2100-01-01T00:00:00Z")
    if "erase" in line:
        spoken = spoken.replace("blue", "demo")
    status = main(shlex.split(spoken)[1:])
    out, err = capfd.readouterr()
    if "--retry" in line:
        assert (status, err) == (1, "chargesphere: no dead letter 'ID'\n")
    else:
        assert status == 0, err
        assert out or "--since" in line


def test_a_copy_of_the_data_folder_is_a_backup(lived: Path, tmp_path: Path) -> None:
    [copy] = [shlex.split(line) for line in lines(OPERATIONS) if line.startswith("cp ")]
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    subprocess.run(copy, cwd=tmp_path, check=True)
    before = run("replay", "--data", str(tmp_path / "data")).stdout
    assert before
    assert run("replay", "--data", str(tmp_path / "data.copy")).stdout == before


def test_every_shell_line_of_the_operations_page_is_tried() -> None:
    assert {line.split()[0] for line in lines(OPERATIONS)} == {"chargesphere", "cp"}
