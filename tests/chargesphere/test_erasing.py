"""A person's data is erased from a whole installation, whenever it is interrupted."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from chargesphere.backbone import Backbone, open_backbone
from chargesphere.cli import main
from chargesphere.settings import PREFIX, read_settings
from commands.base import Meta
from commands.token import ErasePersonalData, PutToken
from projections.store import HUB, Document, Query
from tests.chargesphere.installation import TENANT, live
from tests.commands.decide import NOON

UID = "04AABB"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    asyncio.run(live(tmp_path))
    asyncio.run(put(tmp_path))
    return tmp_path


async def opened(data: Path) -> Backbone:
    return await open_backbone(read_settings({}), "serve", data)


async def put(data: Path) -> None:
    """A tag of the tenant, and the same uid of another one."""
    backbone = await opened(data)
    backbone.start_channel()
    backbone.start_decider()
    vault = backbone.vault
    for tenant in (TENANT, "acme"):
        key = vault.token_key("RFID", UID)
        body = await vault.seal(vault.subject(f"tenant:{tenant}", key), UID)
        command = PutToken(
            tenant=tenant, key=key, token_type="RFID", status="Accepted", body=body, last_updated=NOON
        )
        await backbone.bus.ask(command, Meta(command_id=f"put|{tenant}", at=NOON, tenant=tenant))
    await backbone.close()


async def keys_kept(backbone: Backbone) -> list[bool]:
    """Whether the key for the uid is there, for the tenant and for the other one."""
    return [
        any(
            [
                await backbone.store.get("chargesphere_keys", "keys", subject) is not None
                for subject in backbone.vault.subjects_of(f"tenant:{tenant}", UID)
            ]
        )
        for tenant in (TENANT, "acme")
    ]


def test_erase_takes_the_keys_the_document_and_leaves_a_line_in_the_audit(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["erase", UID.lower(), "--tenant", TENANT, "--data", str(data)]) == 0
    assert capsys.readouterr().out.startswith("erased: ")
    assert main(["erase", UID, "--tenant", TENANT, "--data", str(data)]) == 0

    async def look() -> None:
        backbone = await opened(data)
        assert await keys_kept(backbone) == [False, True]
        tokens = (await backbone.store.find(Query(HUB, "tokens"))).items
        assert [token["owner"] for token in tokens] == ["tenant:acme"]
        await backbone.close()

    assert main(["projections", "rebuild", "--data", str(data)]) == 0
    asyncio.run(look())
    capsys.readouterr()
    audit = asyncio.run(audited(data))
    assert [line["principal"] for line in audit] == ["platform_admin:command line"] * 2
    assert [line["events"] for line in audit] == [
        ["token.removed.v1", "token.personal_data_erased.v1"],
        [],
    ]
    assert UID not in json.dumps(audit)


async def audited(data: Path) -> list[Document]:
    backbone = await opened(data)
    try:
        page = await backbone.store.find(Query(f"ocpp_{TENANT}", "audit"))
        found = [item for item in page.items if item["command"] == "token.erase_personal_data.v1"]
        return sorted(found, key=lambda item: str(item["at"]))
    finally:
        await backbone.close()


def test_a_process_killed_between_the_fact_and_the_keys_leaves_them_to_the_next_one(data: Path) -> None:
    """Nobody projected, and nobody destroyed, when the fact was in the log: as after `kill -9`."""

    async def decide() -> None:
        backbone = await opened(data)
        backbone.start_channel()
        backbone.start_decider()
        vault = backbone.vault
        command = ErasePersonalData(
            tenant=TENANT,
            key=vault.token_key("RFID", UID),
            subjects=vault.subjects_of(f"tenant:{TENANT}", UID),
        )
        await backbone.bus.ask(command, Meta(command_id="erase", at=NOON, tenant=TENANT))
        assert await keys_kept(backbone) == [True, True]
        await backbone.close()

    async def next_one() -> None:
        backbone = await opened(data)
        backbone.start_projector()
        async with asyncio.timeout(20):
            while await keys_kept(backbone) != [False, True]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await backbone.close()

    asyncio.run(decide())
    asyncio.run(next_one())


def test_a_key_that_a_backup_brought_back_goes_with_the_next_rebuild(data: Path) -> None:
    backup = {path.name: path.read_bytes() for path in (data / "read").glob("chargesphere_keys.db*")}
    assert main(["erase", UID, "--tenant", TENANT, "--data", str(data)]) == 0
    for path in (data / "read").glob("chargesphere_keys.db*"):
        path.unlink()
    for name, content in backup.items():
        (data / "read" / name).write_bytes(content)

    async def kept() -> list[bool]:
        backbone = await opened(data)
        try:
            return await keys_kept(backbone)
        finally:
            await backbone.close()

    assert asyncio.run(kept()) == [True, True]
    assert main(["projections", "rebuild", "--data", str(data)]) == 0
    assert asyncio.run(kept()) == [False, True]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([UID, "--tenant", "nobody"], "there is no tenant 'nobody'"),
        (["x" * 65, "--tenant", TENANT], "a uid has 1 to 64 characters"),
    ],
)
def test_what_cannot_be_erased_is_one_line(
    data: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["erase", *words, "--data", str(data)]) == 2
    assert capsys.readouterr().err == f"chargesphere: {line}\n"
