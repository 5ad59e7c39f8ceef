"""A remote command that somebody asks for: sealed, timed by the tenant's settings, handed to the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from application.remote_commands import (
    RemoteCommandPorts,
    request_remote_command,
)
from application.vault import KeyStore, Vault
from commands.base import Command, Meta, Refusal
from commands.charge_point import Find, Found
from commands.remote_command import RequestRemoteCommand
from commands.remote_command_request import parameters_of
from commands.remote_command_rules import ParameterError
from domain.intents import RemoteStart, RemoteStop, Reset, ResetKind, SetVariable
from domain.tenant import Configuration, Features, MessageTimeouts
from domain.values import Authorization, JSONObject, TagRef
from domain.work import step_id
from gateway.ocpp.versions import fits
from projections.store import HUB, Document, Insert, Put, ReadStore, tenant_database
from projections.store.sqlite import SqliteReadStore
from projections.tenant import configuration_document
from streams.log.envelope import Reply, raw

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DB = tenant_database("demo")


class Keys(KeyStore):
    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def get(self, subject: str) -> str | None:
        return self.kept.get(subject)

    async def create(self, subject: str, wrapped: str) -> str:
        return self.kept.setdefault(subject, wrapped)

    async def destroy(self, subject: str) -> None:
        self.kept.pop(subject, None)


class Bus:
    """The log knows the charge point NEW and the transaction 9 of its session, which the read model does not show."""

    def __init__(self) -> None:
        self.asked: list[tuple[RequestRemoteCommand, Meta]] = []
        self.found: list[Find] = []
        self.reply = Reply()

    async def tell(self, command: Command, meta: Meta) -> None:
        raise AssertionError("a remote command is asked for")

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        if isinstance(command, Find):
            self.found.append(command)
            if command.charge_point_id != "NEW" or command.session_id not in ("", "new"):
                return Reply(refusal=Refusal.UNKNOWN, message="not known to the log")
            return Reply(result=raw(Found(transaction_id=9 if command.session_id else 0)))
        assert isinstance(command, RequestRemoteCommand)
        self.asked.append((command, meta))
        return self.reply


class Tags:
    """Knows every tag but STRANGER."""

    async def resolve(
        self, tenant: str, charge_point_id: str, id_tag: str, for_start: bool
    ) -> tuple[TagRef, Authorization]:
        assert not for_start
        known = id_tag != "STRANGER"
        return TagRef(key=f"key of {id_tag}"), Authorization(
            status="Accepted" if known else "Invalid", source="tag" if known else "unknown", as_of=NOW
        )


class Desk:
    """Where somebody asks."""

    def __init__(self, store: ReadStore) -> None:
        self.store = store
        self.bus = Bus()
        self.vault = Vault(b"m" * 32, Keys())
        self.ports = RemoteCommandPorts(store, self.bus, self.vault, Tags(), lambda: NOW, fits)

    async def ask(
        self,
        command_type: str,
        parameters: JSONObject,
        charge_point_id: str = "CP1",
        command_id: str = "c1",
        role: str = "operator",
        **more: Any,
    ) -> Reply | ParameterError:
        return await request_remote_command(
            self.ports,
            tenant="demo",
            charge_point_id=charge_point_id,
            command_type=command_type,
            parameters=parameters,
            command_id=command_id,
            principal=f"{role}:ann",
            role=role,
            **more,
        )

    async def configure(self, configuration: Configuration) -> None:
        tenant: Document = {"configuration": configuration_document(configuration)}
        await self.store.apply([Put(HUB, "tenants", "demo", 2, tenant)])


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """With the charge points CP1 and CP2 of demo, and a session of CP1."""
    store = SqliteReadStore(tmp_path)
    configuration = Configuration(message_timeouts=MessageTimeouts(call_seconds=45, expiry_seconds=90))
    tenant: Document = {"configuration": configuration_document(configuration)}
    await store.apply(
        [
            Insert(HUB, "tenants", "demo", tenant),
            Insert(DB, "charge_points", "CP1", {"tenant_id": "demo"}),
            Insert(DB, "charge_points", "CP2", {"tenant_id": "demo"}),
            Insert(DB, "sessions", "s1", {"charge_point_id": "CP1", "transaction_id": 7}),
        ]
    )
    yield Desk(store)
    await store.close()


async def test_a_remote_start_carries_its_tag_sealed_and_what_is_known_of_it(desk: Desk) -> None:
    await desk.ask("remote_start", {"id_tag": "TAG1", "connector_id": 2})

    [(command, meta)] = desk.bus.asked
    assert b"TAG1" not in msgspec.json.encode([msgspec.structs.replace(command, id_tag=None), meta])
    assert isinstance(command.intent, RemoteStart)
    assert await desk.vault.open(command.intent.id_tag) == b"TAG1"
    assert command.id_tag == TagRef(key="key of TAG1")
    assert command.authorization is not None
    assert (command.command_type, command.by, meta.tenant) == ("remote_start", "operator:ann", "demo")


async def test_it_waits_to_be_sent_as_long_as_the_tenant_says_or_whoever_asks(desk: Desk) -> None:
    await desk.ask("reset", {"type": "Soft"})
    await desk.ask("reset", {"type": "Soft"}, command_id="c2", expiry_seconds=3600)

    assert [c.expires_at - NOW for c, _ in desk.bus.asked] == [timedelta(seconds=90), timedelta(hours=1)]


@pytest.mark.parametrize("seconds", [0, -1, 3601])
async def test_it_may_not_wait_to_be_sent_for_ever(desk: Desk, seconds: int) -> None:
    found = await desk.ask("reset", {"type": "Soft"}, expiry_seconds=seconds)

    assert isinstance(found, ParameterError)
    assert (found.path, desk.bus.asked) == ("expiry_seconds", [])


async def test_an_override_goes_with_the_command(desk: Desk) -> None:
    await desk.ask("reset", {"type": "Soft"}, override=True)

    assert desk.bus.asked[0][0].override


KEY: JSONObject = {"key": "AuthorizationKey", "value": "0aF1" * 8}


@pytest.mark.parametrize("role", ["viewer", "operator"])
async def test_a_password_is_set_by_an_admin_only(desk: Desk, role: str) -> None:
    found = await desk.ask("change_configuration", KEY, role=role)

    assert isinstance(found, Reply)
    assert (found.refusal, desk.bus.asked) == (Refusal.FORBIDDEN, [])


@pytest.mark.parametrize("role", ["tenant_admin", "platform_admin"])
async def test_a_password_is_shown_to_nobody_and_goes_sealed_SEC_04(desk: Desk, role: str) -> None:
    await desk.ask("change_configuration", KEY, role=role)

    [(command, meta)] = desk.bus.asked
    assert parameters_of(command.intent) == {"key": "AuthorizationKey", "value": "***"}
    assert isinstance(command.intent, SetVariable)
    assert await desk.vault.open(command.intent.value) == b"0aF1" * 8
    assert b"0aF1" not in msgspec.json.encode([command, meta])


@pytest.mark.parametrize(
    ("command_type", "parameters", "feature"),
    [
        ("clear_charging_profile", {}, "smart_charging"),
        ("trigger_message", {"requested_message": "Heartbeat"}, "remote_trigger"),
    ],
)
async def test_what_the_tenant_has_switched_off_is_not_sent(
    desk: Desk, command_type: str, parameters: JSONObject, feature: str
) -> None:
    await desk.configure(Configuration(features=Features(**{feature: False})))
    found = await desk.ask(command_type, parameters)
    await desk.ask("reset", {"type": "Soft"}, command_id="c2")

    assert isinstance(found, Reply)
    assert found.refusal is Refusal.NOT_ALLOWED
    assert feature in found.message
    assert [command.intent for command, _ in desk.bus.asked] == [Reset(type=ResetKind.SOFT)]


async def test_a_remote_start_with_an_unknown_tag_is_sent_with_a_warning(desk: Desk) -> None:
    await desk.ask("remote_start", {"id_tag": "TAG1"})
    await desk.ask("remote_start", {"id_tag": "STRANGER"}, command_id="c2")

    assert [command.warning for command, _ in desk.bus.asked] == [
        "",
        "the id tag is not known: its charge will be refused as Invalid",
    ]


async def test_a_repeat_is_the_same_command_and_another_body_is_not(desk: Desk) -> None:
    await desk.ask("reset", {"type": "Soft"})
    await desk.ask("reset", {"type": "Soft"})
    await desk.ask("reset", {"type": "Hard"})
    await desk.ask("reset", {"type": "Soft"}, charge_point_id="CP2")

    first, repeat, other, elsewhere = [(c.fingerprint, m.command_id) for c, m in desk.bus.asked]
    assert first == repeat
    assert len({first, other, elsewhere}) == 3
    assert {c.command_id for c, _ in desk.bus.asked} == {"c1"}


async def test_a_session_stands_for_its_transaction(desk: Desk) -> None:
    await desk.ask("remote_stop", {"session_id": "s1"})

    assert desk.bus.asked[0][0].intent == RemoteStop(transaction_id=7)


@pytest.mark.parametrize(
    ("parameters", "charge_point_id", "path"),
    [
        ({"session_id": "s1"}, "CP2", "parameters.session_id"),
        ({"session_id": "s2"}, "CP1", "parameters.session_id"),
        ({"transaction_id": "7"}, "CP1", "parameters.transaction_id"),
    ],
)
async def test_what_cannot_be_asked_is_not_sent(
    desk: Desk, parameters: JSONObject, charge_point_id: str, path: str
) -> None:
    found = await desk.ask("remote_stop", parameters, charge_point_id)

    assert isinstance(found, ParameterError)
    assert (found.path, desk.bus.asked) == (path, [])


async def test_what_the_read_model_does_not_show_yet_is_asked_of_the_log(desk: Desk) -> None:
    await desk.ask("reset", {"type": "Soft"}, "NEW")
    await desk.ask("remote_stop", {"session_id": "new"}, "NEW", "c2")
    await desk.ask("reset", {"type": "Soft"}, "CP1", "c3")

    assert [(c.charge_point_id, c.intent) for c, _ in desk.bus.asked] == [
        ("NEW", Reset(type=ResetKind.SOFT)),
        ("NEW", RemoteStop(transaction_id=9)),
        ("CP1", Reset(type=ResetKind.SOFT)),
    ]
    assert {find.charge_point_id for find in desk.bus.found} == {"NEW"}


async def test_a_charge_point_that_the_log_does_not_know_is_unknown(desk: Desk) -> None:
    found = await desk.ask("reset", {"type": "Soft"}, "CP9")

    assert isinstance(found, Reply)
    assert (found.refusal, desk.bus.asked) == (Refusal.UNKNOWN, [])


async def test_nobody_takes_the_id_of_an_items_command_before_its_job_does(desk: Desk) -> None:
    """Items show their command ids, so that the next ones could be guessed: the job's own would be a conflict."""
    found = await desk.ask("reset", {"type": "Soft"}, command_id=step_id(uuid4().hex, 7, 1))
    assert found == ParameterError("command_id", "is for an item of a job")
    assert desk.bus.asked == []
    assert isinstance(await desk.ask("reset", {"type": "Soft"}, command_id="job-reset-7-1"), Reply)


@pytest.mark.parametrize("command_id", ["", "x" * 129, "a\nb"])
async def test_a_command_id_is_short_and_printable(desk: Desk, command_id: str) -> None:
    found = await desk.ask("reset", {"type": "Soft"}, command_id=command_id)

    assert isinstance(found, ParameterError)
    assert found.path == "command_id"
