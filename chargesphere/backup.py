"""`chargesphere backup FOLDER` and `restore FOLDER`: the log, and what no log can bring back, into a folder and back.

What enters: an embedded installation, which may run meanwhile, or a log on Kafka with its keys in MongoDB. What
leaves: a folder that is whole or not there. Read models are left out: they are built again from the log. What follows
from something else is copied before it, so that the copy never knows more of the consequence than of the cause: what
the processes lack they ask for again. Data keys come last, since what is sealed needs its key.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import os
import shutil
import sqlite3
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from application.vault import MasterKeyError, StoreKeys, Vault
from chargesphere.errors import CannotBeginError
from chargesphere.settings import Settings, make_durable, read_settings
from chargesphere.writes import shared_store
from commands.base import Area
from projections.erasure import COLLECTION as KEYS
from projections.erasure import DATABASE as KEY_DATABASE
from projections.store import Insert, Query, ReadStore, StoreError, every
from projections.store.files import own_folder
from projections.store.folders import sync_folder
from projections.store.generations import DATABASE as GENERATIONS
from projections.store.generations import is_built_again
from projections.store.sqlite_file import DamagedFileError, copy_file, is_damage
from streams.following.replay import places, readings_places
from streams.log import (
    Log,
    LogError,
    LogUnavailableError,
    Record,
    Stored,
    TopicPartition,
    TopologyMismatchError,
)
from streams.log.batching import portions
from streams.log.founding import PLACE as LAID_OUT
from streams.log.founding import found, join, read
from streams.log.kafka.log import KafkaLog
from streams.log.layout import Layout
from streams.log.ranges import stretch
from streams.log.sqlite.log import copy_log
from streams.log.topology import TOPOLOGY, topics

BACKWARDS = (
    Area.DELIVERY,
    Area.REMOTE_COMMAND,
    Area.JOB,
    Area.SESSION,
    Area.LOCATION,
    Area.CHARGE_POINT,
    Area.TOKEN,
    Area.PARTY,
    Area.KEY,
)
"""What follows from another area before it: a command that a job asked for before that job, which hears of its
outcome again. Its readings are carried into its events, and come behind them."""
READ_MODEL_GROUPS = ("projector", "frames")
SECRETS = ("jwt_secret", "master_key")
PATIENCE = 60.0
"""Seconds that Kafka may take for a call: topics that were made just now have no leaders yet."""
KEY_FILE = "keys.jsonl.gz"

_lines = msgspec.json.Encoder()
_stored = msgspec.json.Decoder(Stored)
_key = msgspec.json.Decoder(tuple[str, str])


async def backup(options: argparse.Namespace) -> int:
    """Copy into a folder that is not there yet."""
    settings, folder = read_settings(), options.folder
    if folder.exists():
        raise CannotBeginError(f"{folder} is there already: a backup makes its folder")
    draft = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        own_folder(draft)
        if settings.kafka_bootstrap:
            said = await _from_servers(settings, draft)
        else:
            said = await asyncio.to_thread(_from_files, settings, options.data, draft)
        draft.rename(folder)
        sync_folder(folder.parent)
    except (OSError, StoreError) as error:
        raise CannotBeginError(f"no backup was made in {folder}: {error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    print(f"{said} in {folder}")
    return 0


async def restore(options: argparse.Namespace) -> int:
    """Bring a backup of a log on Kafka into topics that are empty, and its data keys into MongoDB."""
    settings, folder = read_settings(), options.folder
    if not settings.kafka_bootstrap:
        raise CannotBeginError(f"an embedded backup is a data folder: `chargesphere serve --data {folder}`")
    if not (folder / KEY_FILE).exists():
        raise CannotBeginError(f"{folder} is no backup of a log on Kafka: it has no {KEY_FILE}")
    log, store = KafkaLog(settings.kafka_bootstrap, timeout=PATIENCE), _store(settings)
    try:
        log.layout = await asyncio.to_thread(_layout_of, folder)
        await asyncio.to_thread(_read_through, folder, _copied(log))
        await log.start()
        try:
            await found(log, log.layout.partitions)
        except TopologyMismatchError as error:
            raise CannotBeginError(
                f"{folder} has {log.layout.partitions} partitions, the topics on Kafka were laid out with another "
                "number: use an empty Kafka"
            ) from error
        await log.ensure(topics(log.layout))
        await _be_empty(log)
        if held := [db for db in await store.databases() if is_built_again(db)]:
            raise CannotBeginError(
                f"MongoDB holds read models of another log in {', '.join(held)}: drop them first"
            )
        await _put_keys(settings, store, folder)
        count = 0
        for place in _copied(log):
            count += await _put_partition(log, place, folder)
    except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
        raise CannotBeginError(
            f"{folder} is not whole: {error}; nothing was restored, use another backup"
        ) from error
    except LogUnavailableError as error:
        raise CannotBeginError(f"{error}; empty the topics and begin again") from error
    except StoreError as error:
        raise CannotBeginError(str(error)) from error
    finally:
        await log.close()
        await store.close()
    print(f"{count} records stand where they stood; start the processes, read models are built from the log")
    return 0


# -- embedded --------------------------------------------------------------------------------------------------------


def _from_files(settings: Settings, data: Path, draft: Path) -> str:
    if settings.mongo_url:
        raise CannotBeginError(f"the data keys are in MongoDB and the log in {data}: stop, and copy both")
    if not (data / "log.db").exists():
        raise CannotBeginError(f"no log in {data}: name the folder that `serve` uses with --data")
    kept = [
        path
        for path in sorted((data / "read").glob("*.db"))
        if not is_built_again(path.stem.partition("~")[0]) and path.stem not in (GENERATIONS, KEY_DATABASE)
    ]
    own_folder(draft / "read")
    for path in kept:
        _copy(path, draft / "read" / path.name)
    _copy(data / "log.db", draft / "log.db")
    keys = data / "read" / f"{KEY_DATABASE}.db"
    if keys.exists():
        _copy(keys, draft / "read" / keys.name)
    for name in SECRETS:
        if (data / name).exists():
            make_durable(draft / name, (data / name).read_bytes())
    sync_folder(draft)
    return f"the log of {(draft / 'log.db').stat().st_size} bytes, and its keys,"


def _copy(source: Path, target: Path) -> None:
    try:
        if source.name == "log.db":
            copy_log(source, target, READ_MODEL_GROUPS)
        else:
            copy_file(source, target)
    except (DamagedFileError, sqlite3.Error) as error:
        if not is_damage(error):
            raise CannotBeginError(f"{source} cannot be copied: {error}") from error
        raise CannotBeginError(f"{source} is damaged, see `chargesphere check`: {error}") from error


def _for_the_owner(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


# -- on servers ------------------------------------------------------------------------------------------------------


def _store(settings: Settings) -> ReadStore:
    if not settings.mongo_url or settings.master_key is None:
        raise CannotBeginError(
            "CHARGESPHERE_MONGO_URL and CHARGESPHERE_MASTER_KEY are needed: the data keys are there"
        )
    return shared_store(settings.mongo_url)


async def _from_servers(settings: Settings, draft: Path) -> str:
    log, store = KafkaLog(str(settings.kafka_bootstrap), timeout=PATIENCE), _store(settings)
    try:
        await log.start()
        await join(log, settings.partitions)
        count = 0
        for place in (LAID_OUT, *_copied(log)):
            count += await _get_partition(log, place, draft)
        with _written(draft / KEY_FILE) as file:
            async for key in every(store, Query(KEY_DATABASE, KEYS, limit=500)):
                file.write(_lines.encode((str(key["_id"]), str(key["wrapped"]))) + b"\n")
    finally:
        await log.close()
        await store.close()
    sync_folder(draft)
    return f"{count} records, and their keys,"


async def _get_partition(log: Log, place: TopicPartition, draft: Path) -> int:
    expected = 0
    with _written(_file_of(draft, place)) as file:
        async with contextlib.aclosing(stretch(log, place)) as batches:
            async for batch in batches:
                for stored in batch:
                    if stored.offset != expected:
                        missing = stored.offset - expected
                        raise LogError(
                            f"{place.topic}[{place.partition}]@{expected}: {missing} records are missing, no "
                            "backup was made"
                        )
                    expected += 1
                    file.write(_lines.encode(stored) + b"\n")
    return expected


def _read_through(folder: Path, copied: Sequence[TopicPartition]) -> None:
    """Every file of the backup, to its end. Raises OSError, EOFError, zlib.error and msgspec.MsgspecError."""
    with gzip.open(folder / KEY_FILE) as file:
        for line in file:
            _key.decode(line)
    for place in copied:
        with gzip.open(_file_of(folder, place)) as file:
            for number, line in enumerate(file):
                if _stored.decode(line).offset != number:
                    raise OSError(
                        f"{_file_of(folder, place).name} does not hold offset {number} in its place"
                    )


async def _be_empty(log: Log) -> None:
    specs = [spec for spec in topics(log.layout) if spec.name != TOPOLOGY]
    every = [TopicPartition(spec.name, number) for spec in specs for number in range(spec.partitions)]
    for place, end in (await log.ends(every)).items():
        if end:
            raise CannotBeginError(
                f"{place.topic}[{place.partition}] is not empty: a backup goes into topics that were never written to"
            )


async def _put_partition(log: Log, place: TopicPartition, folder: Path) -> int:
    """Every record at the offset at which it stood: epochs are offsets."""
    count = 0
    with gzip.open(_file_of(folder, place)) as file:
        records = (Record(s.key, s.value, s.headers) for s in map(_stored.decode, file))
        for portion in portions(records):
            offsets = await log.append(*place, portion)
            if list(offsets) != list(range(count, count + len(portion))):
                raise CannotBeginError(
                    f"{place.topic}[{place.partition}]: somebody else writes there; empty the topics and begin again"
                )
            count += len(portion)
    return count


async def _put_keys(settings: Settings, store: ReadStore, folder: Path) -> None:
    """Before anything is appended: with another master key nothing but the keys is there, which do no harm."""
    with gzip.open(folder / KEY_FILE) as file:
        keys = dict(map(_key.decode, file))
    writes = [Insert(KEY_DATABASE, KEYS, subject, {"wrapped": wrapped}) for subject, wrapped in keys.items()]
    for start in range(0, len(writes), 500):
        await store.apply(writes[start : start + 500])
    assert settings.master_key is not None
    try:
        await Vault(settings.master_key, StoreKeys(store)).check()
    except MasterKeyError:
        raise CannotBeginError(
            "CHARGESPHERE_MASTER_KEY is not the key under which this backup's data keys were wrapped"
        ) from None


def _layout_of(folder: Path) -> Layout:
    """How the log was laid out of which this is a backup. Raises OSError, EOFError, zlib.error, msgspec.MsgspecError
    and LogError."""
    with gzip.open(_file_of(folder, LAID_OUT)) as file:
        return Layout(read(_stored.decode(next(file, b"")).value or b""))


def _copied(log: Log) -> list[TopicPartition]:
    """What is copied beside the layout, in this order."""
    return [place for area in BACKWARDS for place in (*places(log, [area]), *readings_places(log, [area]))]


def _file_of(folder: Path, place: TopicPartition) -> Path:
    return folder / f"{place.topic}.{place.partition}.jsonl.gz"


@contextlib.contextmanager
def _written(path: Path) -> Iterator[gzip.GzipFile]:
    """Durable once it is left."""
    with open(path, "xb", opener=_for_the_owner) as raw:
        with gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as file:
            yield file
        raw.flush()
        os.fsync(raw.fileno())
