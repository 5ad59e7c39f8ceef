"""`chargesphere backup` of an embedded installation, and what it says where none can be made."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import msgspec
import pytest

from chargesphere.backbone import open_backbone
from chargesphere.backup import BACKWARDS
from chargesphere.cli import main
from chargesphere.settings import PREFIX, read_settings
from commands.base import Area
from projections.store.sqlite_file import MissingCommitsError, Tally, copy_file
from streams.following.replay import places
from streams.log import Stored
from streams.log.founding import PLACE as LAID_OUT
from streams.log.kafka.log import KafkaLog
from streams.log.sqlite.log import SqliteLog
from tests.chargesphere.installation import documents, live, log_ends, until_projected
from tests.chargesphere.serving import run


def test_every_area_is_copied() -> None:
    assert sorted(BACKWARDS) == sorted(Area)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("lived")
    asyncio.run(live(data))
    return data


@pytest.fixture
def data(lived: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lived, tmp_path / "data"))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words]) == 2
    out, err = capsys.readouterr()
    [line] = err.splitlines()
    assert out == ""
    return line.removeprefix("chargesphere: ")


def test_a_backup_is_its_owners_alone_and_holds_the_log_the_keys_and_the_secrets(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    assert main(["backup", str(folder), "--data", str(data)]) == 0
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert {"log.db", "log.db.commits", "jwt_secret", "master_key", "read/chargesphere_keys.db"} <= names
    assert not {name for name in names if name.startswith(("read/chargesphere.db", "read/ocpp_"))}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert asyncio.run(log_ends(folder)) == asyncio.run(log_ends(data))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_read_models_of_a_backup_are_built_as_it_starts(data: Path, tmp_path: Path) -> None:
    """Those of the frames too: no position says of what is not there that it was made."""
    folder = tmp_path / "backup"
    before = asyncio.run(documents(data))
    assert main(["backup", str(folder), "--data", str(data)]) == 0

    async def begin() -> None:
        log = SqliteLog(folder / "log.db")
        await log.start()
        held = {group for group, _ in log._committed}
        await log.close()
        assert held == {"decider"}
        backbone = await open_backbone(read_settings({}), "serve", folder)
        try:
            backbone.start_projector()
            backbone.start_frames()
            await until_projected(backbone)
        finally:
            await backbone.close()

    asyncio.run(begin())
    assert asyncio.run(documents(folder)) == before


def test_a_folder_that_is_there_a_log_that_is_not_and_settings_of_servers_are_one_line_each(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, there = tmp_path / "backup", tmp_path / "there"
    there.mkdir()
    said = refused(capsys, "backup", str(there), "--data", str(data))
    assert said == f"{there} is there already: a backup makes its folder"
    nowhere = tmp_path / "nowhere"
    said = refused(capsys, "backup", str(folder), "--data", str(nowhere))
    assert said == f"no log in {nowhere}: name the folder that `serve` uses with --data"
    said = refused(capsys, "restore", str(there))
    assert said == f"an embedded backup is a data folder: `chargesphere serve --data {there}`"
    monkeypatch.setenv(PREFIX + "KAFKA_BOOTSTRAP", "127.0.0.1:1")
    said = refused(capsys, "restore", str(there))
    assert said == f"{there} is no backup of a log on Kafka: it has no keys.jsonl.gz"
    said = refused(capsys, "backup", str(folder))
    assert "MONGO_URL" in said
    monkeypatch.delenv(PREFIX + "KAFKA_BOOTSTRAP")
    monkeypatch.setenv(PREFIX + "MONGO_URL", "mongodb://127.0.0.1:1/")
    said = refused(capsys, "backup", str(folder), "--data", str(data))
    assert said == f"the data keys are in MongoDB and the log in {data}: stop, and copy both"
    assert not folder.exists()


def test_no_backup_is_made_of_a_file_that_is_damaged(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (data / "log.db").open("r+b") as file:
        file.write(b"no database")
    said = refused(capsys, "backup", str(tmp_path / "backup"), "--data", str(data))
    assert said.startswith(f"{data / 'log.db'} is damaged, see `chargesphere check`: ")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_copy_that_lacks_acknowledged_commits_is_none(tmp_path: Path) -> None:
    source, target = tmp_path / "log.db", tmp_path / "copy.db"

    async def write() -> None:
        log = SqliteLog(source)
        await log.start()
        await log.close()

    asyncio.run(write())
    tally = Tally(source)
    with contextlib.closing(sqlite3.connect(source)) as connection:
        tally.open(connection, lambda _: None)
    tally.committed()  # of which the file does not know
    tally.close()
    with pytest.raises(MissingCommitsError):
        copy_file(source, target)


def test_a_backup_is_made_by_another_process_while_the_log_is_held(data: Path, tmp_path: Path) -> None:
    async def beside() -> None:
        log = SqliteLog(data / "log.db")
        await log.start()
        try:
            done = await asyncio.to_thread(run, "backup", str(tmp_path / "backup"), "--data", str(data))
        finally:
            await log.close()
        assert (done.returncode, done.stderr) == (0, "")

    asyncio.run(beside())
    assert asyncio.run(log_ends(tmp_path / "backup")) == asyncio.run(log_ends(data))


@pytest.mark.parametrize("harm", ["cut", "flipped", "missing", "left out"])
def test_a_backup_of_kafka_that_is_not_whole_is_refused_before_anything_is_restored(
    harm: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody listens at these addresses: nothing was asked of them."""
    monkeypatch.setenv(PREFIX + "KAFKA_BOOTSTRAP", "127.0.0.1:1")
    monkeypatch.setenv(PREFIX + "MONGO_URL", "mongodb://127.0.0.1:1/")
    monkeypatch.setenv(PREFIX + "MASTER_KEY", "a" * 44)
    with gzip.open(tmp_path / "keys.jsonl.gz", "wb"):
        pass
    log = KafkaLog("127.0.0.1:1")
    laid_out = [Stored(*LAID_OUT, 0, 0, b"topology", b'{"v":1,"partitions":24}')]
    for place in (LAID_OUT, *places(log, Area)):
        stored = [Stored(*place, offset, 0, b"key", b"value" * 100) for offset in (0, 1, 2)]
        stored = laid_out if place == LAID_OUT else stored
        if harm == "left out" and place != LAID_OUT:
            del stored[1]
        with gzip.open(tmp_path / f"{place.topic}.{place.partition}.jsonl.gz", "wb") as file:
            file.writelines(msgspec.json.encode(one) + b"\n" for one in stored)
    victim = tmp_path / "chargesphere.events.session.7.jsonl.gz"
    content = bytearray(victim.read_bytes())
    if harm == "missing":
        victim.unlink()
    elif harm == "cut":
        victim.write_bytes(content[: len(content) // 2])
    elif harm == "flipped":
        content[-6] ^= 1  # of its checksum
        victim.write_bytes(content)
    said = refused(capsys, "restore", str(tmp_path))
    assert said.startswith(f"{tmp_path} is not whole: ")
    assert said.endswith("; nothing was restored, use another backup")


def test_every_area_of_the_log_is_in_a_backup_of_servers() -> None:
    assert sorted(BACKWARDS) == sorted(Area)
