"""Commands of the operator: replay, events, rebuild, dead letters, deliveries, topics, token, check.

They read the log and the read models that the settings name (or the embedded ones in `--data`), and send nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from api.auth import issue_token
from chargesphere import nouns
from chargesphere.backbone import Backbone, open_backbone
from chargesphere.cli import CannotBegin
from chargesphere.settings import local_secrets, read_settings
from commands.base import Area
from domain.aggregate import Event, event_name, kind_of
from projections.store import HUB, Query, Sort, StoreUnavailable, eq
from projections.story import story_writes
from streams.envelope import Decision
from streams.kafka_log import KafkaLog
from streams.projector import Projector
from streams.replay import history, rebuild, state_at
from streams.topology import topics

AREA_OF_KIND = {
    "charge_point": Area.CHARGE_POINT,
    "session": Area.SESSION,
    "token": Area.TOKEN,
    "remote_command": Area.REMOTE_COMMAND,
    "delivery": Area.DELIVERY,
}


@contextlib.asynccontextmanager
async def _opened(options: argparse.Namespace) -> AsyncIterator[Backbone]:
    backbone = await open_backbone(read_settings(), "operations", options.data, create_topics=False)
    try:
        yield backbone
    except StoreUnavailable as error:
        raise CannotBegin(str(error)) from error
    finally:
        await backbone.close()


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise CannotBegin(f"{text!r} is not a time as in 2026-03-01T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _areas(options: argparse.Namespace) -> list[Area]:
    if options.aggregate:
        return [AREA_OF_KIND.get(kind_of(options.aggregate), Area.PARTY)]
    if options.area:
        try:
            return [Area(options.area)]
        except ValueError:
            raise CannotBegin(f"no area {options.area!r}; there are {', '.join(Area)}") from None
    return list(Area)


def _line(decision: Decision, event: Event) -> bytes:
    body = msgspec.to_builtins(event)
    return msgspec.json.encode(
        {
            "type": event_name(event),
            **body,
            "tenant": decision.meta.tenant,
            "correlation_id": decision.meta.correlation_id,
        }
    )


async def replay(options: argparse.Namespace) -> int:
    """Every event that matches, as JSON lines on standard output."""
    since, until = _time(options.since), _time(options.until)
    count = 0

    def wanted(decision: Decision) -> bool:
        return bool(decision.events) and options.tenant in (None, decision.meta.tenant)

    async with (
        _opened(options) as backbone,
        contextlib.aclosing(history(backbone.log, _areas(options), wanted, nouns.EVENTS)) as found,
    ):
        async for fact, events in found:
            for event in events:
                if options.type not in (None, event_name(event)):
                    continue
                if options.aggregate not in (None, event.originator_id):
                    continue
                if (since and event.timestamp < since) or (until and event.timestamp >= until):
                    continue
                sys.stdout.buffer.write(_line(fact.decision, event) + b"\n")
                count += 1
                if options.limit and count >= options.limit:
                    return 0
    return 0


async def events(options: argparse.Namespace) -> int:
    """A story, an aggregate's state at a time, or a search."""
    if options.at and not options.aggregate:
        raise CannotBegin("--at needs --aggregate ID, such as 'session|…'")
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
        contextlib.aclosing(history(backbone.log, list(Area), wanted, nouns.EVENTS)) as found,
    ):
        async for fact, happened in found:
            names = ", ".join(event_name(event) for event in happened) or "nothing happened"
            refusal = fact.decision.reply.refusal
            outcome = f"refused ({refusal}: {fact.decision.reply.message})" if refusal else names
            lines.append((fact.decision.meta.at, f"{fact.decision.command} → {outcome}"))
    for at, line in sorted(lines):
        print(f"{at.astimezone(UTC).isoformat(timespec='milliseconds')}  {line}")
    if not lines:
        print(f"nothing is known of {options.story}", file=sys.stderr)
    return 0 if lines else 1


async def _state(options: argparse.Namespace) -> int:
    found: list[Event] = []
    async with _opened(options) as backbone:
        wanted: Callable[[Decision], bool] = lambda decision: bool(decision.events)  # noqa: E731
        async with contextlib.aclosing(history(backbone.log, _areas(options), wanted, nouns.EVENTS)) as past:
            async for _, happened in past:
                found.extend(event for event in happened if event.originator_id == options.aggregate)
    aggregate = state_at(found, nouns.EVENTS, _time(options.at))
    if aggregate is None:
        print(f"nothing is known of {options.aggregate} at {options.at}", file=sys.stderr)
        return 1
    body = {"id": aggregate.id, "version": aggregate.version, "state": msgspec.to_builtins(aggregate.state)}
    print(msgspec.json.format(msgspec.json.encode(body)).decode())
    return 0


async def projections(options: argparse.Namespace) -> int:
    """Drop every read model and build it from the log; nothing is sent to anybody."""
    console = Console(stderr=True)
    async with _opened(options) as backbone:
        databases = [db for db in await backbone.store.databases() if db == HUB or db.startswith("ocpp_")]
        await backbone.store.drop_all(databases)
        await backbone.prepare_store(db for db in databases if db != HUB)
        projector = Projector(backbone.store, nouns.EVENTS, nouns.VIEWS, nouns.FEEDS, stories=story_writes)
        started = time.monotonic()
        columns = (TextColumn("rebuilding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("rebuild", total=None)
            decisions = await rebuild(
                backbone.log, projector, lambda done, all: bar.update(task, completed=done, total=all)
            )
        seconds = time.monotonic() - started
        rate = decisions / seconds if seconds else 0.0
        print(f"{decisions} decisions in {seconds:.1f} s, {rate:.0f}/s; {projector.applied} writes")
        if projector.parked:
            print(
                f"{len(projector.parked)} documents are parked: see `chargesphere dead-letters`",
                file=sys.stderr,
            )
        return 1 if projector.parked else 0


async def dead_letters(options: argparse.Namespace) -> int:
    """What a projection could not take in."""
    return await _list(options, "dead_letters", ("projection", "document", "offset", "reason", "parked_at"))


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
    table = Table(*names)
    async with _opened(options) as backbone:
        query = Query(HUB, collection, where, (sort,) if sort else (), limit=500)
        for document in (await backbone.store.find(query)).items:
            table.add_row(*(str(document.get(name, "")) for name in names))
    Console().print(table if table.row_count else f"no {collection.replace('_', ' ')}")
    return 0


async def make_topics(options: argparse.Namespace) -> int:
    """Create the topics that are missing and verify the rest."""
    settings = read_settings()
    if not settings.kafka_bootstrap:
        raise CannotBegin("CHARGESPHERE_KAFKA_BOOTSTRAP is not set; the embedded log makes its topics itself")
    log = KafkaLog(settings.kafka_bootstrap)
    try:
        await log.start()
        await log.ensure(topics())
    finally:
        await log.close()
    print(f"{len(topics())} topics are as they should be")
    return 0


async def token(options: argparse.Namespace) -> int:
    """Print a token for /api/v1."""
    if (options.role == "platform_admin") == bool(options.tenant):
        raise CannotBegin("a platform_admin has no tenant; every other role needs --tenant")
    settings = read_settings()
    secret = settings.jwt_secret or local_secrets(options.data)[0]
    print(issue_token(secret, role=options.role, tenant=options.tenant, now=datetime.now(UTC)))
    return 0


async def check(options: argparse.Namespace) -> int:
    """Try the settings and what they name."""
    settings = read_settings()
    kind = (
        f"Kafka at {settings.kafka_bootstrap}"
        if settings.kafka_bootstrap
        else f"the embedded log in {options.data}"
    )
    async with _opened(options) as backbone:
        await backbone.log.ensure(topics())
        print(f"ok    {kind}: {len(topics())} topics")
        try:
            databases = await backbone.store.databases()
            print(f"ok    read store: {len(databases)} databases")
        except StoreUnavailable as error:
            print(f"wrong {error}")
            return 1
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], Awaitable[int]]] = {
    "replay": replay,
    "events": events,
    "projections": projections,
    "dead-letters": dead_letters,
    "deliveries": deliveries,
    "topics": make_topics,
    "token": token,
    "check": check,
}


async def run(options: argparse.Namespace) -> int:
    """Run the command that the options name."""
    return await COMMANDS[options.command](options)
