"""A job that somebody asks for: its charge points chosen once, listed in portions, and asked for last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from application.jobs import Filter, JobRequest, request_job
from application.remote_commands import RemoteCommandPorts
from application.vault import Vault
from commands.base import Command, Meta, Refusal
from commands.charge_point import Find
from commands.job import FindJob, JobStatus, RequestJob
from commands.job_items import ListItems
from commands.remote_command_rules import ParameterError
from domain.intents import SetVariable
from domain.job import ITEMS_MOST
from domain.job_items import PORTION
from domain.tenant import Configuration, Features
from gateway.ocpp.versions import fits
from projections.job import UNDER_WAY
from projections.store import HUB, Insert, tenant_database
from projections.store.sqlite import SqliteReadStore
from projections.tenant import configuration_document
from streams.log import LogUnavailableError
from streams.log.envelope import Reply, raw
from tests.application.test_remote_commands import Keys, Tags

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
DB = tenant_database("demo")


class Bus:
    """A log that knows no job and the charge point NEW; it goes away before the command of this kind."""

    def __init__(self) -> None:
        self.asked: list[tuple[Command, Meta]] = []
        self.there: Reply = Reply(refusal=Refusal.UNKNOWN, message="no job")
        self.away_at: type[Command] | None = None

    async def tell(self, command: Command, meta: Meta) -> None:
        raise AssertionError("a job is asked for")

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        if type(command) is self.away_at:
            raise LogUnavailableError("away")
        self.asked.append((command, meta))
        match command:
            case FindJob():
                return self.there
            case Find():
                known = command.charge_point_id == "NEW"
                return Reply() if known else Reply(refusal=Refusal.UNKNOWN, message="unknown")
            case _:
                return Reply(result=raw(JobStatus(job_id="j1", status="running")))

    @property
    def kinds(self) -> list[type[Command]]:
        return [type(command) for command, _ in self.asked]

    @property
    def listed(self) -> list[ListItems]:
        return [command for command, _ in self.asked if isinstance(command, ListItems)]

    @property
    def job(self) -> RequestJob:
        [job] = [command for command, _ in self.asked if isinstance(command, RequestJob)]
        return job


class Desk:
    def __init__(self, store: SqliteReadStore) -> None:
        self.store = store
        self.bus = Bus()
        self.vault = Vault(b"m" * 32, Keys())
        self.ports = RemoteCommandPorts(store, self.bus, self.vault, Tags(), lambda: NOW, fits)

    async def have(self, *ids: str, **fields: Any) -> None:
        await self.store.apply([Insert(DB, "charge_points", id, fields) for id in ids])

    async def switch_off(self, **features: bool) -> None:
        configuration = configuration_document(Configuration(features=Features(**features)))
        await self.store.apply([Insert(HUB, "tenants", "demo", {"configuration": configuration})])

    async def ask(self, role: str = "tenant_admin", **asked: Any) -> Reply | ParameterError:
        known: dict[str, Any] = {
            "command_type": "reset",
            "parameters": {"type": "Soft"},
            "at_once": 10,
            **asked,
        }
        return await request_job(
            self.ports,
            msgspec.convert(known, JobRequest),
            tenant="demo",
            job_id="j1",
            principal=f"{role}:ann",
            role=role,
        )


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = SqliteReadStore(tmp_path)
    yield Desk(store)
    await store.close()


async def test_items_are_listed_in_portions_before_the_job_is_asked_for(desk: Desk) -> None:
    ids = [f"CP-{number:04d}" for number in range(2 * PORTION + 7)]
    await desk.have(*ids, vendor="Exa")
    await desk.have("CP-OTHER", vendor="Uno")
    await desk.ask(filter=Filter(vendor="Exa"), stop_percent=1)
    assert desk.bus.kinds == [FindJob, ListItems, ListItems, ListItems, RequestJob]
    assert [id for portion in desk.bus.listed for id in portion.about] == ids
    assert [portion.portion for portion in desk.bus.listed] == [0, 1, 2]
    assert {portion.listing for portion in desk.bus.listed} == {desk.bus.job.listing}
    assert desk.bus.job.items == len(ids)
    assert desk.bus.job.limits.stop_after == 11  # one percent of 1007, and none less


async def test_while_the_log_is_away_in_between_no_job_was_asked_for(desk: Desk) -> None:
    await desk.have("CP1")
    desk.bus.away_at = RequestJob
    with pytest.raises(LogUnavailableError):
        await desk.ask(ids=["CP1"])
    desk.bus.away_at = None
    await desk.ask(ids=["CP1"])
    first, second = desk.bus.listed
    assert first.listing != second.listing == desk.bus.job.listing


async def test_a_job_that_is_there_is_answered_and_listed_no_more(desk: Desk) -> None:
    await desk.have("CP1")
    desk.bus.there = Reply(result=raw(JobStatus(job_id="j1", status="paused")))
    assert await desk.ask(ids=["CP1"]) == desk.bus.there
    assert desk.bus.kinds == [FindJob]


async def test_the_same_request_again_is_the_same_job_when_its_time_is_over_and_its_feature_off(
    desk: Desk,
) -> None:
    reserve: dict[str, Any] = {
        "command_type": "reserve_now",
        "parameters": {
            "connector_id": 1,
            "expiry_date": (NOW - timedelta(minutes=1)).isoformat(),
            "id_tag": "TAG1",
            "reservation_id": 7,
        },
    }
    trigger: dict[str, Any] = {
        "command_type": "trigger_message",
        "parameters": {"requested_message": "Heartbeat"},
    }
    await desk.have("CP1")
    await desk.switch_off(remote_trigger=False)
    wrong = await desk.ask(ids=["CP1"], **reserve)
    assert isinstance(wrong, ParameterError)
    assert wrong.path == "parameters.expiry_date"
    refused = await desk.ask(ids=["CP1"], **trigger)
    assert isinstance(refused, Reply)
    assert refused.refusal is Refusal.NOT_ALLOWED
    desk.bus.there = Reply(result=raw(JobStatus(job_id="j1", status="running")))
    assert await desk.ask(ids=["CP1"], **reserve) == desk.bus.there
    assert await desk.ask(ids=["CP1"], **trigger) == desk.bus.there
    assert desk.bus.listed == []


async def test_who_may_not_tell_a_password_does_not_learn_whether_a_job_tells_it(desk: Desk) -> None:
    """A job that is there is found by all that was asked, the password too: a guess would be answered."""
    desk.bus.there = Reply(result=raw(JobStatus(job_id="j1", status="running")))
    password = {"key": "AuthorizationKey", "value": "0" * 32}
    refused = await desk.ask(
        role="operator", ids=["CP1"], command_type="change_configuration", parameters=password
    )
    assert isinstance(refused, Reply)
    assert refused.refusal is Refusal.FORBIDDEN
    assert desk.bus.asked == []


async def test_an_item_has_its_place_for_the_longest_that_its_tenant_may_give_an_answer(desk: Desk) -> None:
    """Set anew while the job runs, an answer may be waited for so long; else one more would be out then."""
    await desk.have("CP1")
    await desk.ask(ids=["CP1"], expiry_seconds=60)
    assert desk.bus.job.limits.patience_s == 60 + 3600 + 300


async def test_a_tenant_has_so_many_jobs_under_way(desk: Desk) -> None:
    await desk.have("CP1")
    states = [*UNDER_WAY, "done", "failed", "cancelled"]
    jobs = [Insert(DB, "jobs", f"o{n}", {"state": states[n % 7]}) for n in range(7 * 25 - 1)]
    await desk.store.apply([*jobs[:-4], *jobs[-3:]])  # 99 of them are not over
    assert isinstance(await desk.ask(ids=["CP1"]), Reply)
    assert desk.bus.job.items == 1
    await desk.store.apply([jobs[-4]])
    desk.bus.asked = []
    refused = await desk.ask(ids=["CP1"])
    assert isinstance(refused, Reply)
    assert refused.refusal is Refusal.NOT_ALLOWED
    assert desk.bus.kinds == [FindJob]


async def test_charge_points_are_named_once_and_the_log_is_asked_for_those_that_nobody_shows(
    desk: Desk,
) -> None:
    await desk.have("CP1", "CP2")
    await desk.ask(ids=["CP2", "NEW", "CP1", "CP2"])
    [portion] = desk.bus.listed
    assert portion.about == ("CP2", "NEW", "CP1")
    refused = await desk.ask(ids=["CP2", "GONE"])
    assert refused == ParameterError("charge_points.ids[1]", "there is no such charge point")


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({"connected": False}, ["B"]),
        ({"location_id": "L1", "connected": True}, ["A"]),
        ({"id_prefix": "A"}, ["A", "AB"]),
        ({"model": "Box", "firmware_version": "1.2"}, ["AB"]),
        ({"all": True}, ["A", "AB", "B"]),
    ],
    ids=str,
)
async def test_a_filter_finds_those_of_which_all_is_so(
    desk: Desk, chosen: dict[str, Any], found: list[str]
) -> None:
    await desk.have("A", location={"id": "L1"}, connected=True, model="Box", firmware_version="1.1")
    await desk.have("AB", location={"id": "L2"}, connected=True, model="Box", firmware_version="1.2")
    await desk.have("B", location={"id": "L1"}, connected=False, model="Pole", firmware_version="1.2")
    await desk.ask(filter=Filter(**chosen))
    [portion] = desk.bus.listed
    assert list(portion.about) == found


async def test_more_charge_points_than_a_job_may_have_are_refused(desk: Desk) -> None:
    await desk.have(*(f"CP-{number}" for number in range(ITEMS_MOST + 1)))
    refused = await desk.ask(filter=Filter(all=True))
    assert isinstance(refused, ParameterError)
    assert refused.path == "charge_points.filter"
    assert desk.bus.listed == []


async def test_secrets_are_sealed_once_for_the_job(desk: Desk) -> None:
    await desk.have("CP1")
    await desk.ask(
        ids=["CP1"],
        command_type="change_configuration",
        parameters={"key": "AuthorizationKey", "value": "0" * 32},
    )
    [portion] = desk.bus.listed
    assert isinstance(portion.work.intent, SetVariable)
    assert await desk.vault.open(portion.work.intent.value) == b"0" * 32
    assert portion.work == desk.bus.job.work
    assert all("0" * 32 not in bytes(raw(command)).decode() for command, _ in desk.bus.asked)


async def test_only_the_job_is_said_to_be_asked_for_by_the_person(desk: Desk) -> None:
    await desk.have("CP1")
    await desk.ask(ids=["CP1"])
    assert [meta.principal for _, meta in desk.bus.asked] == ["", "", "tenant_admin:ann"]


@pytest.mark.parametrize(("expiry", "within"), [(600, 600), (1, 60)])
async def test_a_job_begins_while_its_commands_may_wait_or_somebody_does_else_not_at_all(
    desk: Desk, expiry: int, within: int
) -> None:
    """Decided hours later, when nobody waits for it any more, it would come over the fleet unawares."""
    await desk.have("CP1")
    await desk.ask(ids=["CP1"], expiry_seconds=expiry)
    assert [meta.deadline for _, meta in desk.bus.asked] == [None, None, NOW + timedelta(seconds=within)]


async def test_what_is_asked_of_each_has_a_bound(desk: Desk) -> None:
    await desk.have("CP1")
    tags = [{"id_tag": f"TAG{number:05d}", "id_tag_info": {"status": "Accepted"}} for number in range(2000)]
    refused = await desk.ask(
        ids=["CP1"],
        command_type="send_local_list",
        parameters={"list_version": 1, "update_type": "Full", "local_authorization_list": tags},
    )
    assert isinstance(refused, ParameterError)
    assert refused.path == "parameters"
    assert desk.bus.listed == []
