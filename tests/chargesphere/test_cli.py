"""The command line: what cannot begin is one line on standard error and exit status 2."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from chargesphere.cli import PROCESSES, build_parser, main
from chargesphere.settings import PREFIX
from tests.chargesphere.serving import Serving, cannot_begin, run


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    serving = Serving(tmp_path_factory.mktemp("serve") / "data")
    yield serving
    if serving.process.poll() is None:
        serving.end(signal.SIGTERM)


def test_serve_says_where_it_listens_once_it_is_ready(serving: Serving) -> None:
    assert serving.lines[0].startswith("charge points: ws://127.0.0.1:")
    assert serving.lines[1].startswith("serve is ready: http://127.0.0.1:")
    for path in ("/health", "/ready", "/metrics", "/docs", "/", "/ocpi/versions"):
        assert httpx.get(serving.url + path).status_code == (401 if path == "/ocpi/versions" else 200), path


def test_the_data_of_serve_is_its_owners_alone(serving: Serving) -> None:
    """Log and read models with what SQLite has beside them, keys and locks."""
    files = [serving.data, *serving.data.rglob("*")]
    assert {path.name for path in files} > {
        "log.db",
        "log.db-wal",
        "log.db-shm",
        "read",
        "chargesphere.db-wal",
    }
    modes = {(path.is_dir(), path.stat().st_mode & 0o777) for path in files}
    assert modes == {(True, 0o700), (False, 0o600)}


def test_a_second_serve_on_the_same_folder_is_refused(serving: Serving) -> None:
    line = cannot_begin(run("serve", "--http-port", "0", "--ocpp-port", "0", "--data", str(serving.data)))
    assert "is in use by another process" in line


def test_operations_that_write_into_the_folder_of_a_running_serve_are_refused(serving: Serving) -> None:
    line = cannot_begin(run("projections", "rebuild", "--data", str(serving.data)))
    assert "is in use by another process" in line


def test_a_busy_port_is_named_with_the_way_out(serving: Serving, tmp_path: Path) -> None:
    port = serving.url.rpartition(":")[2]
    line = cannot_begin(
        run("serve", "--http-port", port, "--ocpp-port", "0", "--data", str(tmp_path / "data"))
    )
    assert line == f"port {port} on 127.0.0.1 is in use; choose another with --http-port (0 = a free one)"


def test_a_busy_charge_points_port_is_named_too(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = ("serve", "--http-port", "0", "--ocpp-port", str(port), "--data", str(tmp_path / "data"))
        line = cannot_begin(run(*words))
    assert line == f"port {port} on 127.0.0.1 is in use; choose another with --ocpp-port (0 = a free one)"


def test_told_to_end_serve_ends_with_0_and_begins_again_with_what_it_had(serving: Serving) -> None:
    token = run("token", "--role", "platform_admin", "--data", str(serving.data)).stdout.strip()
    headers = {"authorization": f"Bearer {token}"}
    made = httpx.post(serving.url + "/api/v1/tenants", json={"id": "kept", "name": "Kept"}, headers=headers)
    assert made.status_code == 201, made.text
    assert serving.end(signal.SIGTERM) == 0
    again = Serving(serving.data)
    try:
        assert httpx.get(again.url + "/api/v1/tenants/kept", headers=headers).json()["name"] == "Kept"
    finally:
        assert again.end(signal.SIGINT) == 0


@pytest.mark.parametrize("process", [*PROCESSES, "worker"])
def test_a_process_without_settings_names_all_that_it_needs(
    process: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    assert main([process, "--node", "one", "--http-port", "0"]) == 2
    said = capsys.readouterr().err
    for name in ("KAFKA_BOOTSTRAP", "MONGO_URL", "REDIS_URL", "JWT_SECRET", "MASTER_KEY"):
        assert PREFIX + name in said
    assert said.count("\n") == 1


def test_a_wrong_setting_is_one_line(tmp_path: Path) -> None:
    line = cannot_begin(run("serve", "--data", str(tmp_path / "data"), HUB_PARTY="x"))
    assert line.startswith("CHARGESPHERE_HUB_PARTY: 'x'")
    assert not (tmp_path / "data").exists()


def test_the_number_of_partitions_is_that_of_the_first_start(tmp_path: Path) -> None:
    words = ("serve", "--http-port", "0", "--ocpp-port", "0", "--data", str(tmp_path))
    first = Serving(tmp_path, PARTITIONS="3")
    assert first.end(signal.SIGTERM) == 0
    assert cannot_begin(run(*words, PARTITIONS="5")) == (
        "CHARGESPHERE_PARTITIONS is 5, and the log has had 3 partitions since its first start: leave it out"
    )
    assert Serving(tmp_path).end(signal.SIGTERM) == 0, "who says nothing obeys"


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_data_folder_that_cannot_be_made_is_one_line(command: str, tmp_path: Path) -> None:
    """As on a disk that is read-only."""
    (tmp_path / "file").touch()
    data = tmp_path / "file" / "data"
    line = cannot_begin(run(command, "--http-port", "0", "--ocpp-port", "0", "--data", str(data)))
    assert str(data) in line
    assert line.endswith(": Not a directory")


def test_secrets_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "jwt_secret").mkdir()
    line = cannot_begin(run("serve", "--http-port", "0", "--ocpp-port", "0", "--data", str(tmp_path)))
    assert line == f"the secrets in {tmp_path} cannot be used: Is a directory"


def test_an_unknown_setting_is_one_line_too(tmp_path: Path) -> None:
    line = cannot_begin(run("serve", "--data", str(tmp_path / "data"), HUB_PARTIES="DEHUB"))
    assert line == "CHARGESPHERE_HUB_PARTIES is no setting; CHARGESPHERE_HUB_PARTY is one"
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["serve", "--port", "1"],
        ["serve", "--http-port", "70000"],
        ["serve", "--http-port", "many"],
        ["gateway"],
        ["token", "--role", "king"],
        ["projections"],
        ["fly"],
        [],
    ],
)
def test_an_unknown_word_is_exit_status_2_with_the_usage(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: chargesphere")


def test_demo_on_processes_needs_kafka(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    assert main(["demo", "--gateways", "2", "--for", "1"]) == 2
    assert "CHARGESPHERE_KAFKA_BOOTSTRAP" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["25", "25.9", "0", "-1", "nan"])
def test_a_demo_in_which_no_charge_can_begin_and_end_is_refused_with_the_least_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seconds: str
) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    assert main(["demo", f"--for={seconds}"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"chargesphere: --for {seconds} is too short: in the last 25 s no charge begins, "
        "so it needs 26 at least\n"
    )


def test_every_command_has_a_line_of_help() -> None:
    text = build_parser().format_help()
    for command in (*PROCESSES, "worker", "serve", "demo", "replay", "events", "projections", "dead-letters"):
        assert f"\n    {command} " in text or f"\n    {command}\n" in text


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"chargesphere {version('chargesphere')}\n"
