"""Commands of the operator: replay, events, rebuild, dead letters, deliveries, topics, token, check.

They read the log and the read models that the settings name (or the embedded ones in `--data`), and send nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Column, Table

from api.auth import issue_token
from chargesphere import erasing, registry
from chargesphere.backbone import Backbone, open_backbone
from chargesphere.backup import backup, restore
from chargesphere.checks import check
from chargesphere.errors import CannotBeginError
from chargesphere.keys import keys
from chargesphere.printed import printable
from chargesphere.rebuilding import rebuild
from chargesphere.settings import read_settings, signing_secret
from commands.base import Area
from domain.aggregate import Event, UnknownEventError, event_name, kind_of
from domain.subject import LONGEST_SUBJECT
from projections.store import HUB, Query, Sort, StoreUnavailableError, eq
from streams.following.facts import TransientError
from streams.following.parking import Parking
from streams.following.replay import history, state_at
from streams.log.envelope import Decision, NewerReleaseError
from streams.log.founding import found
from streams.log.kafka.log import KafkaLog
from streams.log.topology import topics
from streams.projecting.letters import NotRetriedError, retry

AREA_OF_KIND = {
    "charge_point": Area.CHARGE_POINT,
    "session": Area.SESSION,
    "foreign_session": Area.SESSION,
    "foreign_cdr": Area.SESSION,
    "token": Area.TOKEN,
    "tag": Area.TOKEN,
    "remote_command": Area.REMOTE_COMMAND,
    "delivery": Area.DELIVERY,
    "key": Area.KEY,
    "subject": Area.KEY,
    "job": Area.JOB,
    "job_items": Area.JOB,
    "location": Area.LOCATION,
}


@contextlib.asynccontextmanager
async def _opened(options: argparse.Namespace, *, to_write: bool = False) -> AsyncIterator[Backbone]:
    """What is only read is read beside a running `serve` too."""
    settings = read_settings()
    if not settings.kafka_bootstrap and not (options.data / "log.db").exists():
        raise CannotBeginError(f"no log in {options.data}: name the folder that `serve` uses with --data")
    backbone = await open_backbone(
        settings, "operations", options.data, create_topics=False, beside=not to_write
    )
    try:
        yield backbone
    except (StoreUnavailableError, TransientError) as error:
        raise CannotBeginError(str(error)) from error
    finally:
        await backbone.close()


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CannotBeginError(f"{text!r} is not a time as in 2026-03-01T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _areas(options: argparse.Namespace) -> list[Area]:
    if options.aggregate:
        return [AREA_OF_KIND.get(kind_of(options.aggregate), Area.PARTY)]
    if options.area:
        try:
            return [Area(options.area)]
        except ValueError:
            raise CannotBeginError(f"no area {options.area!r}; there are {', '.join(Area)}") from None
    return list(Area)


def _line(decision: Decision, event: msgspec.Raw, *, addresses: bool) -> bytes:
    """The event as it stands in the log, without what is secret, with what its decision knows."""
    meta = decision.meta
    told = {**msgspec.json.decode(event), "tenant": meta.tenant, "correlation_id": meta.correlation_id}
    return msgspec.json.encode(printable(told, addresses=addresses))


async def replay(options: argparse.Namespace) -> int:
    """Every event that matches, as JSON lines on standard output."""
    since, until = _time(options.since), _time(options.until)
    count = 0

    def wanted(decision: Decision) -> bool:
        counts = bool(decision.events) and not decision.repeat
        return counts and options.tenant in (None, decision.meta.tenant)

    async with (
        _opened(options) as backbone,
        contextlib.aclosing(history(backbone.log, _areas(options), wanted, registry.EVENTS)) as found,
    ):
        async for fact, events in found:
            for event, raw in zip(events, fact.decision.events, strict=True):
                if options.type not in (None, event_name(event)):
                    continue
                if options.aggregate not in (None, event.originator_id):
                    continue
                if (since and event.timestamp < since) or (until and event.timestamp >= until):
                    continue
                line = _line(fact.decision, raw, addresses=options.addresses)
                sys.stdout.buffer.write(line + b"\n")
                count += 1
                if options.limit and count >= options.limit:
                    return 0
    return 0


async def events(options: argparse.Namespace) -> int:
    """A story, an aggregate's state at a time, or a search."""
    if options.at and not options.aggregate:
        raise CannotBeginError("--at needs --aggregate ID, such as 'session|…'")
    if options.story:
        return await _story(options)
    if options.at:
        return await _state(options)
    return await replay(options)


async def _story(options: argparse.Namespace) -> int:
    lines: list[tuple[datetime, str]] = []

    def wanted(decision: Decision) -> bool:
        return options.story in (decision.meta.correlation_id, decision.meta.command_id) or (
            options.story.encode() in b"".join(bytes(event) for event in decision.events)
        )

    async with (
        _opened(options) as backbone,
        contextlib.aclosing(history(backbone.log, list(Area), wanted, registry.EVENTS)) as found,
    ):
        async for fact, happened in found:
            names = ", ".join(event_name(event) for event in happened) or "nothing happened"
            refusal = fact.decision.reply.refusal
            outcome = f"refused ({refusal}: {fact.decision.reply.message})" if refusal else names
            lines.append((fact.decision.meta.at, f"{fact.decision.command} → {outcome}"))
    for at, line in sorted(lines, key=lambda told: told[0]):
        print(f"{at.astimezone(UTC).isoformat(timespec='milliseconds')}  {line}")
    if not lines:
        print(f"nothing is known of {options.story}", file=sys.stderr)
    return 0 if lines else 1


async def _state(options: argparse.Namespace) -> int:
    found: list[Event] = []
    async with _opened(options) as backbone:
        wanted: Callable[[Decision], bool] = lambda decision: bool(decision.events)  # noqa: E731
        async with contextlib.aclosing(
            history(backbone.log, _areas(options), wanted, registry.EVENTS)
        ) as past:
            async for _, happened in past:
                found.extend(event for event in happened if event.originator_id == options.aggregate)
    aggregate = state_at(found, registry.EVENTS, _time(options.at))
    if aggregate is None:
        print(f"nothing is known of {options.aggregate} at {options.at}", file=sys.stderr)
        return 1
    state = printable(msgspec.to_builtins(aggregate.state, str_keys=True), addresses=options.addresses)
    body = {"id": aggregate.id, "version": aggregate.version, "state": state}
    print(msgspec.json.format(msgspec.json.encode(body)).decode())
    return 0


async def projections(options: argparse.Namespace) -> int:
    """Build every read model from the log, beside those that are read meanwhile."""
    async with _opened(options, to_write=True) as backbone:
        return await rebuild(backbone)


async def dead_letters(options: argparse.Namespace) -> int:
    """What a projection could not take in, and the aggregates that a follower has parked; with --retry, a document is
    made anew, or the follower is asked to try again."""
    if options.retry is None:
        return await _list_letters(options)
    async with _opened(options, to_write=True) as backbone:
        if await Parking(backbone.log).retry(options.retry) is not None:
            print(
                "whoever follows that partition tries again within some seconds; list them to see how it went"
            )
            return 0
        # Beside an embedded log that we hold nobody projects who would have to learn of it first.
        settle = {} if backbone.settings.kafka_bootstrap else {"settle": 0.0}
        try:
            version = await retry(
                backbone.log,
                backbone.store,
                registry.VIEWS,
                registry.FEEDS,
                registry.EVENTS,
                options.retry,
                **settle,
            )
        except NotRetriedError as error:
            print(f"chargesphere: {error}", file=sys.stderr)
            return 1
    print(f"made anew at version {version}")
    return 0


async def _list_letters(options: argparse.Namespace) -> int:
    table = Table(*(Column(name, overflow="fold") for name in ("id", "what", "reason", "parked at")))
    async with _opened(options) as backbone:
        query = Query(HUB, "dead_letters", (), (Sort("parked_at"),), limit=500)
        for letter in (await backbone.store.find(query)).items:
            table.add_row(*(str(letter.get(name, "")) for name in ("_id", "document", "reason", "parked_at")))
        for id, parked in sorted((await Parking(backbone.log).all()).items()):
            what = f"{parked.aggregate} waits for {parked.group} from offset {parked.offset}"
            table.add_row(id, what, parked.reason, parked.at.isoformat(timespec="seconds"))
    console = Console(width=None if sys.stdout.isatty() else 400)
    console.print(table if table.row_count else "no dead letters")
    return 0


async def deliveries(options: argparse.Namespace) -> int:
    """What is on its way to partners."""
    names = ("to", "module", "object_id", "state", "attempts", "next_attempt_at", "last_error")
    where = (eq("state", options.state),) if options.state else ()
    return await _list(options, "deliveries", names, where, Sort("updated_at", True))


async def _list(
    options: argparse.Namespace,
    collection: str,
    names: tuple[str, ...],
    where: tuple[Any, ...] = (),
    sort: Sort | None = None,
) -> int:
    table = Table(*(Column(name.lstrip("_"), overflow="fold") for name in names))
    async with _opened(options) as backbone:
        query = Query(HUB, collection, where, (sort,) if sort else (), limit=500)
        for document in (await backbone.store.find(query)).items:
            table.add_row(*(str(document.get(name, "")) for name in names))
    # Ids must be fit for copying: only a terminal is as narrow as it is.
    console = Console(width=None if sys.stdout.isatty() else 400)
    console.print(table if table.row_count else f"no {collection.replace('_', ' ')}")
    return 0


async def make_topics(options: argparse.Namespace) -> int:
    """Create the topics that are missing and verify all; a line for each setting that is wrong, with the way out."""
    settings = read_settings()
    if not settings.kafka_bootstrap:
        raise CannotBeginError(
            "CHARGESPHERE_KAFKA_BOOTSTRAP is not set; the embedded log makes its topics itself"
        )
    log = KafkaLog(settings.kafka_bootstrap)
    try:
        await log.start()
        await found(log, settings.partitions)
        faults = await log.topic_faults(topics(log.layout))
        replicas = log.fewest_replicas
    finally:
        await log.close()
    for fault in faults:
        print(f"chargesphere: {fault}; {fault.way_out(settings.kafka_bootstrap)}", file=sys.stderr)
    if replicas < 3:
        print(f"{replicas} of 3 replicas: what an acknowledged record survives is in docs/guarantees.md")
    if faults:
        return 1
    print(f"{len(topics(log.layout))} topics of {log.layout.partitions} partitions are as they should be")
    return 0


async def token(options: argparse.Namespace) -> int:
    """Print a token for /api/v1."""
    if (options.role == "platform_admin") == bool(options.tenant):
        raise CannotBeginError("a platform_admin has no tenant; every other role needs --tenant")
    if len(options.subject) > LONGEST_SUBJECT:
        raise CannotBeginError(f"--subject: must have at most {LONGEST_SUBJECT} characters")
    secret = signing_secret(read_settings(), options.data)
    try:
        now = datetime.now(UTC)
        print(issue_token(secret, options.role, options.tenant, now, subject=options.subject))
    except ValueError as error:
        raise CannotBeginError(f"--tenant: {error}") from None
    return 0


async def erase(options: argparse.Namespace) -> int:
    """Take away what identifies a person behind a uid."""
    async with _opened(options, to_write=True) as backbone:
        return await erasing.erase(backbone, options)


COMMANDS: dict[str, Callable[[argparse.Namespace], Awaitable[int]]] = {
    "replay": replay,
    "events": events,
    "projections": projections,
    "dead-letters": dead_letters,
    "deliveries": deliveries,
    "topics": make_topics,
    "token": token,
    "keys": keys,
    "check": check,
    "erase": erase,
    "backup": backup,
    "restore": restore,
}


async def run(options: argparse.Namespace) -> int:
    """Run the command that the options name; 1 where the log holds what this release does not know."""
    try:
        return await COMMANDS[options.command](options)
    except (UnknownEventError, NewerReleaseError) as error:
        print(f"chargesphere: {error}", file=sys.stderr)
        return 1
