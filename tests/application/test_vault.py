"""Sealing and destroying, on every read store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from application.vault import CACHED_SECONDS, DestroyedError, MasterKeyError, StoreKeys, Vault
from projections.store import ReadStore
from projections.store.mongo import MongoReadStore
from projections.store.sqlite import SqliteReadStore
from tests.servers import Mongo

MASTER = b"m" * 32


@pytest.fixture(params=["sqlite", pytest.param("mongo", marks=pytest.mark.mongo)])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReadStore]:
    made: ReadStore
    if request.param == "sqlite":
        made = SqliteReadStore(tmp_path / "read")
    else:
        mongo: Mongo = request.getfixturevalue("mongo")
        made = MongoReadStore(mongo.url, database_prefix=f"t{uuid.uuid4().hex[:10]}_")
    yield made
    await made.close()


def vault(store: ReadStore) -> Vault:
    """As another process would have it."""
    return Vault(MASTER, StoreKeys(store))


async def test_what_is_sealed_opens_in_every_process_and_is_not_legible(store: ReadStore) -> None:
    sealed = await vault(store).seal("t1", "04A1B2C3")

    assert "04A1B2C3" not in sealed
    assert await vault(store).open(sealed) == b"04A1B2C3"


async def test_two_processes_that_create_one_key_at_once_open_each_others_texts(store: ReadStore) -> None:
    vaults = [vault(store) for _ in range(4)]
    sealed = await asyncio.gather(*(v.seal("t1", str(i)) for i, v in enumerate(vaults)))

    for reader in (*vaults, vault(store)):
        assert [await reader.open(text) for text in sealed] == [b"0", b"1", b"2", b"3"]


async def test_what_one_owner_seals_of_a_uid_is_not_under_another_owners_key(store: ReadStore) -> None:
    here = vault(store)
    mine, theirs = (here.subjects_of(owner, "04A1") for owner in ("tenant:demo", "DE*MSP"))
    assert not set(mine) & set(theirs)
    assert mine == here.subjects_of("tenant:demo", "04a1")
    assert mine[0] == here.subject("tenant:demo", here.token_key("RFID", "04A1"))
    sealed = [await here.seal(subject, "x") for subject in (mine[0], theirs[0])]
    await here.destroy(mine[0])
    assert [await here.open(text) for text in sealed] == [None, b"x"]


async def test_a_destroyed_key_opens_nothing_and_never_comes_back(store: ReadStore) -> None:
    here = vault(store)
    sealed = await here.seal("t1", "x")
    other = await here.seal("t2", "y")
    await here.destroy("t1")

    for reader in (here, vault(store)):
        assert await reader.open(sealed) is None
        with pytest.raises(DestroyedError):
            await reader.seal("t1", "again")
        assert await reader.open(other) == b"y"


async def test_another_process_forgets_a_destroyed_key_in_time(store: ReadStore) -> None:
    clock = [0.0]
    there = Vault(MASTER, StoreKeys(store), monotonic=lambda: clock[0])
    sealed = await there.seal("t1", "x")
    await vault(store).destroy("t1")
    clock[0] += CACHED_SECONDS

    assert await there.open(sealed) is None


async def test_a_key_that_was_fetched_is_at_hand_until_it_could_have_been_destroyed(store: ReadStore) -> None:
    clock = [0.0]
    await vault(store).seal("t1", "x")
    there = Vault(MASTER, StoreKeys(store), monotonic=lambda: clock[0])
    assert not there.at_hand("t1")
    for subject in ("t1", "unknown"):
        await there.fetch(subject)
    assert there.at_hand("t1")
    assert not there.at_hand("unknown")
    clock[0] += CACHED_SECONDS
    assert not there.at_hand("t1")


async def test_a_text_that_was_changed_or_moved_to_another_subject_does_not_open(store: ReadStore) -> None:
    here = vault(store)
    sealed = await here.seal("t1", "x")
    await here.seal("t2", "y")
    body = sealed.rpartition(".")[2]
    cut = sealed[:-4]

    for text in (
        "",
        "s1.t1",
        "s2" + sealed[2:],
        f"s1.t2.{body}",
        cut,
        f"s1.t1.{body[:-2]}é",
        f"s1.unknown.{body}",
    ):
        assert await here.open(text) is None


async def test_another_master_key_is_named_as_the_cause(store: ReadStore) -> None:
    sealed = await vault(store).seal("t1", "x")
    with pytest.raises(MasterKeyError, match="the key of t1"):
        await Vault(b"n" * 32, StoreKeys(store)).open(sealed)


def test_a_digest_is_keyed_and_tells_nothing(tmp_path: Path) -> None:
    store = SqliteReadStore(tmp_path)
    one, other = Vault(MASTER, StoreKeys(store)), Vault(b"n" * 32, StoreKeys(store))

    assert one.token_key("RFID", "04ab") == one.token_key("RFID", "04AB")
    assert one.token_key("RFID", "04ab") != one.token_key("APP_USER", "04ab")
    assert one.token_key("RFID", "04ab") != other.token_key("RFID", "04ab")
    assert one.tag_keys("04ab")[0] == one.token_key("RFID", "04ab")
    assert len(one.digest("x", "y")) == 32


def test_a_short_master_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 32 bytes"):
        Vault(b"short", StoreKeys(SqliteReadStore(tmp_path)))
