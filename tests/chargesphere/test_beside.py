"""What only reads works beside a running `serve`; what writes is refused with one line."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from api.auth import issue_token
from chargesphere.settings import local_secrets
from streams.log import LogError, LogUnavailableError, Record, TopicPartition, TopicSpec
from streams.log.ranges import stretch
from streams.log.sqlite.beside import SqliteLogBeside
from streams.log.sqlite.log import SqliteLog
from tests.chargesphere.serving import Serving, cannot_begin, run


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """It takes in tenants all the while."""
    serve = Serving(tmp_path_factory.mktemp("beside"))
    serve.wait_until_ready()
    token = issue_token(
        local_secrets(serve.data)[0], role="platform_admin", tenant=None, now=datetime.now(UTC)
    )
    over, begun = threading.Event(), threading.Event()

    def tenants() -> None:
        with httpx.Client(
            base_url=f"{serve.url}/api/v1", headers={"authorization": f"Bearer {token}"}
        ) as api:
            number = 0
            while not over.is_set():
                api.post("/tenants", json={"id": f"t{number}", "name": "T"}, timeout=30).raise_for_status()
                number += 1
                begun.set()

    making = threading.Thread(target=tenants)
    making.start()
    assert begun.wait(60)
    try:
        yield serve
    finally:
        over.set()
        making.join()
        serve.end(signal.SIGTERM)


def test_replay_prints_what_was_acknowledged_before_it_began(serving: Serving) -> None:
    done = run("replay", "--data", str(serving.data), "--type", "tenant.created.v1")
    assert done.returncode == 0, done.stderr
    told = [json.loads(line)["tenant"] for line in done.stdout.splitlines()]
    assert "t0" in told
    assert len(told) == len(set(told))


@pytest.mark.parametrize(
    "words",
    [
        ("check",),
        ("events", "--aggregate", "tenant|t0"),
        ("events", "--aggregate", "tenant|t0", "--at", "2100-01-01T00:00:00Z"),
        ("deliveries",),
        ("dead-letters",),
    ],
)
def test_what_only_reads_finds_a_healthy_system_healthy(serving: Serving, words: tuple[str, ...]) -> None:
    done = run(*words, "--data", str(serving.data))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
    assert "wrong" not in done.stdout


@pytest.mark.parametrize(
    "words",
    [("projections", "rebuild"), ("dead-letters", "--retry", "x"), ("erase", "ALICE", "--tenant", "t0")],
)
def test_what_writes_is_refused_with_one_line(serving: Serving, words: tuple[str, ...]) -> None:
    assert "is in use by another process" in cannot_begin(run(*words, "--data", str(serving.data)))


def test_keys_are_made_listed_and_revoked_through_the_running_process(serving: Serving) -> None:
    where = ("--data", str(serving.data), "--url", serving.url, "--tenant", "t0")
    made = run("keys", "create", "--name", "Billing", "--role", "viewer", "--scope", "cdrs:read", *where)
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    id = key.split("_")[1]
    sent = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{serving.url}/api/v1/cdrs", headers=sent).status_code == 200
    assert httpx.get(f"{serving.url}/api/v1/sessions", headers=sent).status_code == 403
    listed = run("keys", "list", *where).stdout
    assert id in listed
    assert key not in listed
    assert run("keys", "revoke", id, *where).returncode == 0
    assert httpx.get(f"{serving.url}/api/v1/cdrs", headers=sent).status_code == 401
    unknown = run("keys", "revoke", "nobody", *where)
    assert (unknown.returncode, unknown.stderr) == (1, "chargesphere: key nobody is not known\n")
    printed = run("replay", "--data", str(serving.data), "--area", "key", "--limit", "2").stdout
    assert "key.created.v1" in printed
    assert '"secret_digest":"***"' in printed


def test_keys_need_a_process_that_answers(serving: Serving) -> None:
    """Port 9 answers nobody."""
    line = cannot_begin(run("keys", "list", "--data", str(serving.data), "--url", "http://127.0.0.1:9"))
    assert line.startswith("nothing answers at http://127.0.0.1:9 (ConnectError)")


async def test_the_log_beside_holds_what_was_committed_when_it_was_opened_and_takes_nothing(
    tmp_path: Path,
) -> None:
    place = TopicPartition("t", 0)
    log, beside = SqliteLog(tmp_path / "log.db"), SqliteLogBeside(tmp_path / "log.db")
    await log.start()
    try:
        await log.ensure([TopicSpec("t", 1)])
        await log.append("t", 0, [Record(None, b"before")])
        await beside.start()
        await log.append("t", 0, [Record(None, b"after")])
        assert [stored.value async for batch in stretch(beside, place) for stored in batch] == [b"before"]
        with pytest.raises(LogError, match="only read"):
            await beside.append("t", 0, [Record(None, b"x")])
        async with asyncio.timeout(5):
            with pytest.raises(LogError, match="only read"):
                await beside.append_patiently("t", 0, [Record(None, b"x")])
        await asyncio.gather(beside.close(), log.append("t", 0, [Record(None, b"still")]))
        assert [stored.value async for batch in stretch(log, place) for stored in batch][-1] == b"still"
    finally:
        await beside.close()
        await log.close()


async def test_who_reads_beside_leaves_every_file_as_it_is(tmp_path: Path) -> None:
    """A count that was made here would belong to who asked, and say that no commit is missing."""
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.close()
    (tmp_path / "log.db.commits").unlink()
    beside = SqliteLogBeside(tmp_path / "log.db")
    await beside.start()
    await beside.close()
    assert not (tmp_path / "log.db.commits").exists()


async def test_a_log_of_which_nothing_was_written_yet_is_said_to_be_empty_and_let_go(tmp_path: Path) -> None:
    (tmp_path / "log.db").touch()
    beside = SqliteLogBeside(tmp_path / "log.db")
    with pytest.raises(LogUnavailableError, match="nothing is in it yet"):
        await beside.start()
    assert not beside._connections
    log = SqliteLog(tmp_path / "log.db")
    await log.start()
    await log.close()
