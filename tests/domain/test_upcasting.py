"""Older forms of events and commands are read as the current one, step by step, exactly, and nothing else is."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from domain.aggregate import Event, EventRegistry, UnknownEventError
from domain.upcasting import Forms, names
from streams.log.envelope import CommandRegistry, NewerReleaseError
from tests.domain.golden import golden, held_by_golden_files
from tests.streams.counter import AlarmSet, Rang
from tests.streams.releases import EVENTS, Add, Added, Counter

HEAD = '"aggregate":"counter|a","version":1,"received_at":"2026-03-01T12:00:00Z"'


class Weighed(Event, frozen=True, kw_only=True, tag="counter.weighed.v3"):
    """In grams; it had been kilograms in `v2`, and in `v1` they were called a mass."""

    grams: Decimal
    unit: str = "g"

    @staticmethod
    def upcast_v1_v2(fact: dict[str, Any]) -> None:
        fact["kilograms"] = fact.pop("mass")

    @staticmethod
    def upcast_v2_v3(fact: dict[str, Any]) -> None:
        fact["grams"] = fact.pop("kilograms") * 1000


WEIGHED = EventRegistry({Counter: (Weighed, Rang)})


def test_every_form_of_the_test_noun_equals_its_golden_file() -> None:
    held_by_golden_files(Counter, (Added, AlarmSet, Rang))


def test_an_older_form_is_read_step_by_step() -> None:
    first, second, third = (
        WEIGHED.decode(f'{{"type":"counter.weighed.v{version}",{HEAD},{field}}}'.encode())
        for version, field in ((1, '"mass":2'), (2, '"kilograms":2'), (3, '"grams":"2000"'))
    )
    assert first == second == third


def test_numbers_of_an_older_form_keep_every_digit() -> None:
    event = WEIGHED.decode(f'{{"type":"counter.weighed.v1",{HEAD},"mass":0.12345678901234567891}}'.encode())
    assert isinstance(event, Weighed)
    assert event.grams == Decimal("123.45678901234567891")


def test_an_older_command_is_read_as_the_current_one() -> None:
    commands = CommandRegistry([Add])
    assert commands.decode(
        msgspec.Raw(b'{"type":"counter.add.v1","counter":"a","amount":3,"padding":9}')
    ) == Add(counter="a", thousandths=3000)


@pytest.mark.parametrize("name", ["counter.added.v3", "counter.subtracted.v1", "counter.alarm_set.v2"])
def test_a_newer_form_or_another_name_is_unknown(name: str) -> None:
    with pytest.raises(UnknownEventError, match=name):
        EVENTS.decode(f'{{"type":"{name}",{HEAD}}}'.encode())


def test_a_newer_form_of_a_command_is_of_a_newer_release() -> None:
    with pytest.raises(NewerReleaseError, match=r"counter\.add\.v3"):
        CommandRegistry([Add]).decode(msgspec.Raw(b'{"type":"counter.add.v3","counter":"a"}'))


@pytest.mark.parametrize("content", ["", ',"amount":"many"', ',"amount":[]'])
def test_an_older_form_that_is_damaged_is_damaged(content: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        EVENTS.decode(f'{{"type":"counter.added.v1",{HEAD}{content}}}'.encode())


def test_reading_an_older_form_twice_gives_the_same() -> None:
    data = golden("counter", "counter.added.v1")
    assert EVENTS.decode(data) == EVENTS.decode(data)


def test_every_name_of_a_form_is_known_and_the_last_is_the_current_one() -> None:
    assert names(Weighed) == ("counter.weighed.v1", "counter.weighed.v2", "counter.weighed.v3")
    assert dict(EVENTS.names)["counter.added.v1"] == "counter.added.v2"
    assert "counter.added.v1" not in EVENTS.events


class _Gap(Event, frozen=True, kw_only=True, tag="counter.gap.v4"):
    @staticmethod
    def upcast_v1_v2(fact: dict[str, Any]) -> None: ...

    @staticmethod
    def upcast_v3_v4(fact: dict[str, Any]) -> None: ...


class _Short(Event, frozen=True, kw_only=True, tag="counter.short.v3"):
    @staticmethod
    def upcast_v1_v2(fact: dict[str, Any]) -> None: ...


class _Beyond(Event, frozen=True, kw_only=True, tag="counter.beyond.v1"):
    @staticmethod
    def upcast_v1_v2(fact: dict[str, Any]) -> None: ...


class _Nameless(Event, frozen=True, kw_only=True, tag="counter.nameless"):
    @staticmethod
    def upcast_v1_v2(fact: dict[str, Any]) -> None: ...


@pytest.mark.parametrize("form", [_Gap, _Short, _Beyond, _Nameless])
def test_upcasters_that_do_not_lead_to_the_current_form_are_refused(form: type[Event]) -> None:
    with pytest.raises(ValueError, match="step by step"):
        Forms([form])


class _First(Event, frozen=True, kw_only=True, tag="counter.added.v1"):
    amount: int


def test_a_name_that_two_forms_claim_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two forms are named 'counter\.added\.v1'"):
        Forms([Added, _First])
