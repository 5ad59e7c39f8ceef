"""How often the log is asked for a tenant's room, and how many an answer lets in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest

from application import quota as module
from application.ports import QuotaUnavailableError
from application.quota import LogQuota
from commands.base import Accepted, Command, Meta, Refusal
from commands.tenant import AskRoom, Room
from streams.log import LogUnavailableError
from streams.log.envelope import Reply, raw

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Tenants:
    """Answers with the room that a test says; keeps what it was asked."""

    def __init__(self, strangers: int) -> None:
        self.strangers = strangers
        self.refusal: Refusal | None = None
        self.away = False
        self.asked: list[tuple[Command, Meta]] = []

    async def tell(self, command: Command, meta: Meta) -> None:
        raise AssertionError(command)

    async def ask(self, command: Command, meta: Meta, timeout: float | None = None) -> Reply:
        self.asked.append((command, meta))
        await asyncio.sleep(0)
        if self.away:
            raise LogUnavailableError("away")
        if self.refusal is not None:
            return Reply(refusal=self.refusal)
        answer = Accepted(Room(for_operators=0, for_strangers=self.strangers))
        return Reply(result=raw(answer.reply))


def quota(tenants: Tenants) -> LogQuota:
    return LogQuota(tenants, lambda: NOON)


async def test_a_herd_asks_once_and_no_more_get_in_than_there_is_room_for() -> None:
    tenants = Tenants(3)
    asked = quota(tenants)
    found = await asyncio.gather(*(asked.take("demo") for _ in range(100)))
    assert (sum(found), len(tenants.asked)) == (3, 1)


async def test_a_tenant_that_is_full_costs_the_log_one_question_in_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tenants = Tenants(0)
    asked = quota(tenants)
    assert [await asked.take("demo") for _ in range(50)] == [False] * 50
    assert len(tenants.asked) == 1
    monkeypatch.setattr(module, "FRESH", 0.0)
    tenants.strangers = 1
    other = quota(tenants)
    assert [await other.take("demo"), await other.take("demo")] == [True, True], "asked anew"


async def test_each_tenant_is_asked_for_itself_by_a_command_of_its_own() -> None:
    tenants = Tenants(1)
    asked = quota(tenants)
    assert [await asked.take("a"), await asked.take("b"), await asked.take("a")] == [True, True, False]
    assert [command for command, _ in tenants.asked] == [AskRoom(tenant="a"), AskRoom(tenant="b")]
    assert len({meta.command_id for _, meta in tenants.asked}) == 2
    assert all(meta.deadline is not None for _, meta in tenants.asked)


async def test_a_tenant_that_does_not_exist_has_no_room() -> None:
    tenants = Tenants(1)
    tenants.refusal = Refusal.UNKNOWN
    assert not await quota(tenants).take("nobody")


async def test_what_is_not_told_is_no_answer_and_is_asked_for_again() -> None:
    tenants = Tenants(1)
    asked = quota(tenants)
    tenants.refusal = Refusal.EXPIRED
    with pytest.raises(QuotaUnavailableError):
        await asked.take("demo")
    tenants.refusal, tenants.away = None, True
    with pytest.raises(LogUnavailableError):
        await asked.take("demo")
    tenants.away = False
    assert await asked.take("demo")
