"""Configuration wanted beside actual: read, compared, pushed where it differs, at most three times, and shown."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.base import Accepted, Refusal, TimerDue
from commands.charge_point import (
    Boot,
    BootReply,
    ConcludeCall,
    Connect,
    ConnectedReply,
    Disconnect,
    Remove,
    RequestCall,
    See,
    WantDefaults,
    WantVariables,
)
from domain.charge_point import CallRequested, ChargePointBooted, VariablesCompared
from domain.charge_point.wanted import (
    PUSHES_MOST,
    TOLD_MOST,
    WISHES_MOST,
    VariableState,
    Wish,
    wrong_defaults,
)
from domain.intents import GetVariables, SetVariable
from tests.commands.charge_point_case import Case, after
from tests.commands.v16_calls import intent, learned

KEY = "MeterValueSampleInterval"
HOUR, DAY = 3600, 86_400


class Device:
    """A charge point with variables, which answers whatever the system asks by itself. `takes` says what becomes of a
    pushed value; `silent`: no answer comes."""

    def __init__(self, **values: str) -> None:
        self.most = 1000  # that it tells at once
        self.case = Case.registered()
        self.values = dict(values)
        self.readonly: set[str] = set()
        self.takes: str = "Accepted"
        self.keeps = True
        self.silent = False
        self.read: list[tuple[str, ...] | None] = []
        self.pushed: list[tuple[str, str]] = []
        self.now = 0.0

    def connect(self, firmware: str = "1.0") -> Device:
        self.case.do(Connect, self.now, node="gw-1", slot=3, boot="b1")
        return self.boot(firmware)

    def boot(self, firmware: str = "1.0") -> Device:
        self.case.do(Boot, self.now, vendor="v", model="m", firmware_version=firmware)
        return self

    def wish(self, key: str = KEY, value: str | None = "60") -> Device:
        self.case.do(WantVariables, self.now, wishes=(Wish(key=key, value=value),))
        return self

    def live(self, seconds: float) -> Device:
        """Let time pass; everything that is asked is answered at once."""
        end = self.now + seconds
        while (due := self.case.charge_point.own_call_due) is not None and due <= after(end):
            self.now = max(self.now, (due - after(0)).total_seconds())
            assert self.case.state.connection is not None
            self.case.do(See, self.now, epoch=self.case.state.connection.epoch)
            events = self.case.decide(TimerDue(aggregate=self.case.charge_point.id, due=due), self.now)
            calls = [event for event in events if isinstance(event, CallRequested)]
            assert len(calls) == 1, "one call at a time"
            self._answer(calls[0])
        self.now = end
        return self

    def _answer(self, call: CallRequested) -> None:
        if isinstance(call.intent, GetVariables):
            self.read.append(call.intent.keys)
            names = call.intent.keys or tuple(self.values)
            there = [name for name in names if name in self.values]
            said: dict[str, Any] = {
                "configurationKey": [
                    {"key": name, "readonly": name in self.readonly, "value": self.values[name]}
                    for name in there[: self.most]
                ],
                "unknownKey": [name for name in names if name not in self.values],
            }
            self.conclude(call, "accepted", learned("GetConfiguration", said))
            return
        assert isinstance(call.intent, SetVariable)
        key, value = call.intent.key, call.intent.value
        self.pushed.append((key, value))
        if self.takes == "Accepted" and self.keeps:
            self.values[key] = value
        taught = learned("ChangeConfiguration", {"status": self.takes}, {"key": key, "value": value})
        good = self.takes in ("Accepted", "RebootRequired")
        self.conclude(call, "accepted" if good else "rejected", taught, self.takes)

    def conclude(self, call: CallRequested, status: str, taught: Any, reason: str = "") -> None:
        values: dict[str, Any] = {"status": status, "learned": taught, "reason": reason, "answered": True}
        if self.silent:
            values = {"status": "timed_out", "reason": "no answer in time"}
        self.case.do(ConcludeCall, self.now, command_id=call.command_id, **values)

    def state(self, key: str = KEY) -> VariableState:
        return self.case.state.wanted[key.casefold()].state


def test_what_is_wanted_is_read_pushed_and_read_back_TC_019_TC_021() -> None:
    device = Device(**{KEY: "900"}).connect().wish().live(60)
    assert device.pushed == [(KEY, "60")]
    assert device.read == [None, (KEY,)]
    assert device.state() is VariableState.IN_SYNC


def test_what_it_has_already_is_never_written() -> None:
    device = Device(**{KEY: "60.0"}).connect().wish().live(DAY)
    assert device.pushed == []
    assert device.state() is VariableState.IN_SYNC


def test_a_wish_of_one_that_is_not_there_waits_for_its_connection_J_21() -> None:
    device = Device(**{KEY: "900"}).connect().live(60)
    device.case.do(Disconnect, device.now, epoch=2, reason="closed 1000")
    device.wish().live(DAY)
    assert (device.pushed, device.state()) == ([], VariableState.PENDING)
    device.case.do(Connect, device.now, node="gw-1", slot=3, boot="b1")
    device.live(60)
    assert (device.pushed, device.state()) == ([(KEY, "60")], VariableState.IN_SYNC)


def test_one_that_lost_its_flash_is_told_again_at_its_boot() -> None:
    device = Device(**{KEY: "900"}).connect().wish().live(60)
    device.values[KEY] = "900"
    device.boot().live(60)
    assert device.pushed == [(KEY, "60")] * 2
    assert device.state() is VariableState.IN_SYNC


def test_three_pushes_that_change_nothing_are_drift_and_no_fourth_comes() -> None:
    device = Device(**{KEY: "900"})
    device.keeps = False
    device.connect().wish().live(DAY)
    assert device.pushed == [(KEY, "60")] * PUSHES_MOST
    assert device.state() is VariableState.DRIFT
    device.boot().live(DAY).boot().live(DAY)
    assert len(device.pushed) == PUSHES_MOST
    assert device.case.state.wanted[KEY.casefold()].told == "900"


def test_a_drift_that_somebody_mends_on_the_spot_is_in_sync_at_the_next_boot() -> None:
    device = Device(**{KEY: "900"})
    device.keeps = False
    device.connect().wish().live(DAY)
    device.values[KEY] = "60"
    device.boot().live(60)
    assert device.state() is VariableState.IN_SYNC


@pytest.mark.parametrize("way", ["asked again", "other firmware"])
def test_what_was_given_up_is_tried_anew(way: str) -> None:
    device = Device(**{KEY: "900"})
    device.keeps = False
    device.connect().wish().live(DAY)
    device.keeps = True
    if way == "asked again":
        device.wish()
    else:
        device.boot(firmware="2.0")
    device.live(DAY)
    assert len(device.pushed) == PUSHES_MOST + 1
    assert device.state() is VariableState.IN_SYNC


def test_a_value_for_after_the_reboot_is_shown_and_read_after_it_TC_021() -> None:
    device = Device(**{KEY: "900"})
    device.takes = "RebootRequired"
    device.connect().wish().live(DAY)
    assert (device.state(), len(device.pushed)) == (VariableState.REBOOT_REQUIRED, 1)
    device.values[KEY] = "60"
    device.boot().live(60)
    assert (device.state(), len(device.pushed)) == (VariableState.IN_SYNC, 1)


def test_one_that_asks_for_a_reboot_for_ever_is_drift_after_three() -> None:
    device = Device(**{KEY: "900"})
    device.takes = "RebootRequired"
    device.connect().wish()
    for _ in range(6):
        device.live(DAY).boot()
    device.live(DAY)
    assert (device.state(), len(device.pushed)) == (VariableState.DRIFT, PUSHES_MOST)


@pytest.mark.parametrize(
    ("said", "state"), [("Rejected", VariableState.REFUSED), ("NotSupported", VariableState.UNKNOWN)]
)
def test_a_refusal_is_not_pushed_again_TC_021(said: str, state: VariableState) -> None:
    device = Device(**{KEY: "900"})
    device.takes = said
    device.connect().wish().live(DAY).boot().live(DAY)
    assert (device.state(), len(device.pushed)) == (state, 1)


def test_a_read_only_variable_that_differs_is_refused_without_a_push() -> None:
    device = Device(NumberOfConnectors="2")
    device.readonly = {"NumberOfConnectors"}
    device.connect().wish("NumberOfConnectors", "3").live(DAY)
    assert (device.state("NumberOfConnectors"), device.pushed) == (VariableState.REFUSED, [])
    assert device.case.state.wanted["numberofconnectors"].readonly


def test_a_variable_that_it_does_not_have_is_unknown_without_a_push() -> None:
    device = Device(**{KEY: "900"}).connect().wish("Colour", "red").live(DAY)
    assert (device.state("Colour"), device.pushed) == (VariableState.UNKNOWN, [])


def test_keys_are_read_in_parts_of_GetConfigurationMaxKeys() -> None:
    values = {f"Key{i}": "0" for i in range(7)}
    device = Device(GetConfigurationMaxKeys="3", **values).connect().live(60)
    for name in values:
        device.wish(name, "0")
    device.live(60)
    assert [len(keys) for keys in device.read if keys is not None] == [3, 3, 1]
    assert all(device.state(name) is VariableState.IN_SYNC for name in values)


def test_one_that_tells_fewer_than_it_was_asked_for_is_asked_for_the_rest() -> None:
    values = {f"Key{i}": "0" for i in range(5)}
    device = Device(**values).connect().live(60)
    device.most = 2
    for name in values:
        device.wish(name, "0")
    device.live(60)
    assert [len(keys) for keys in device.read if keys is not None] == [5, 3, 1]
    assert device.pushed == []


def test_one_that_never_answers_is_asked_ever_more_seldom() -> None:
    device = Device(**{KEY: "900"}).connect().live(60)
    device.silent = True
    device.wish().live(DAY)
    asked = len(device.read)
    assert 10 < asked < 35  # doubling from a minute, then once an hour
    device.silent = False
    device.boot().live(DAY)
    assert device.state() is VariableState.IN_SYNC


def test_a_question_that_its_gateway_cannot_put_is_put_ever_more_seldom() -> None:
    device = Device(**{KEY: "900"}).connect().live(60).wish()
    asked: list[float] = []

    def crowded(call: CallRequested) -> None:
        asked.append(device.now)
        reason = "too many calls wait for this charge point"
        device.case.do(ConcludeCall, device.now, command_id=call.command_id, status="failed", reason=reason)

    device._answer = crowded  # type: ignore[method-assign]
    device.live(HOUR)
    assert all(later - earlier >= 60 for earlier, later in pairwise(asked))


def test_a_push_whose_connection_broke_is_read_before_it_is_pushed_again() -> None:
    device = Device(**{KEY: "900"}).connect().live(60).wish()
    original = device._answer

    def broken(call: CallRequested) -> None:
        if not isinstance(call.intent, SetVariable):
            original(call)
            return
        device.pushed.append((call.intent.key, call.intent.value))
        device.values[KEY] = "60"  # it came through
        device.case.do(Disconnect, device.now, epoch=call.epoch, reason="closed 1006")
        device.case.do(Connect, device.now, node="gw-1", slot=3, boot="b1")

    device._answer = broken  # type: ignore[method-assign]
    device.live(DAY)
    assert (device.state(), len(device.pushed)) == (VariableState.IN_SYNC, 1)


def test_a_late_refusal_of_a_push_says_nothing_of_what_it_has_taken_since() -> None:
    device = Device(**{KEY: "900"}).connect().live(60).wish()
    original, given_up = device._answer, list[str]()

    def late(call: CallRequested) -> None:
        if isinstance(call.intent, SetVariable) and not given_up:
            given_up.append(call.command_id)
            device.case.do(ConcludeCall, device.now, command_id=call.command_id, status="timed_out")
        else:
            original(call)

    device._answer = late  # type: ignore[method-assign]
    device.live(DAY)
    assert device.state() is VariableState.IN_SYNC
    device.case.do(
        ConcludeCall, device.now, command_id=given_up[0], status="rejected", reason="Rejected", answered=True
    )
    assert device.state() is VariableState.IN_SYNC


def test_a_late_answer_to_the_push_of_a_former_wish_says_nothing_of_this_one() -> None:
    device = Device(**{KEY: "900"}).connect().live(60).wish()
    original, given_up = device._answer, list[str]()

    def late(call: CallRequested) -> None:
        if isinstance(call.intent, SetVariable) and not given_up:
            given_up.append(call.command_id)
            device.case.do(ConcludeCall, device.now, command_id=call.command_id, status="timed_out")
        else:
            original(call)

    device._answer = late  # type: ignore[method-assign]
    device.live(10).wish(value="30")
    taught = learned("ChangeConfiguration", {"status": "RebootRequired"}, {"key": KEY, "value": "60"})
    device.case.do(
        ConcludeCall,
        device.now,
        command_id=given_up[0],
        status="accepted",
        reason="RebootRequired",
        answered=True,
        learned=taught,
    )
    assert device.state() is VariableState.PENDING
    device.live(DAY)
    assert (device.pushed, device.state()) == ([(KEY, "30")], VariableState.IN_SYNC)


def test_one_that_boots_from_our_question_is_asked_once_a_minute_at_most() -> None:
    device = Device(**{KEY: "900"}).connect().live(60).wish()
    asked: list[float] = []

    def crash(call: CallRequested) -> None:
        asked.append(device.now)
        device.case.do(Disconnect, device.now, epoch=call.epoch, reason="closed 1006")
        device.connect()

    device._answer = crash  # type: ignore[method-assign]
    device.live(HOUR)
    assert all(later - earlier >= 60 for earlier, later in pairwise(asked))
    assert len(asked) > 10


def test_a_wish_that_changes_while_its_push_is_out_is_read_and_pushed() -> None:
    device = Device(**{KEY: "900"}).connect().live(60).wish()
    original = device._answer

    def change(call: CallRequested) -> None:
        if isinstance(call.intent, SetVariable) and call.intent.value == "60":
            device.wish(KEY, "30")
        original(call)

    device._answer = change  # type: ignore[method-assign]
    device.live(DAY)
    assert device.pushed == [(KEY, "60"), (KEY, "30")]
    assert device.state() is VariableState.IN_SYNC


def test_an_operators_own_change_is_seen_and_put_back() -> None:
    device = Device(**{KEY: "60"}).connect().wish().live(60)
    asked = intent("ChangeConfiguration", {"key": KEY, "value": "15"})
    device.case.do(RequestCall, device.now, command_id="r1", intent=asked, expires_at=after(device.now + 60))
    device.values[KEY] = "15"
    taught = learned("ChangeConfiguration", {"status": "Accepted"}, {"key": KEY, "value": "15"})
    device.case.do(
        ConcludeCall, device.now, command_id="r1", status="accepted", learned=taught, answered=True
    )
    device.live(60)
    assert device.pushed == [(KEY, "60")]
    assert device.state() is VariableState.IN_SYNC


def test_a_variable_without_a_wish_is_nobodys_business() -> None:
    device = Device(**{KEY: "900"}).connect().wish().live(60)
    device.wish(value=None).boot().live(DAY)
    device.values[KEY] = "1"
    device.boot().live(2 * DAY)
    assert len(device.pushed) == 1
    assert device.case.state.wanted == {}


def test_a_tenants_wishes_are_those_of_its_newest_settings() -> None:
    device = Device(**{KEY: "900"}).connect().live(60)

    def defaults(revision: int, value: str) -> None:
        wishes = (Wish(key=KEY, value=value),)
        device.case.do(WantDefaults, device.now, wishes=wishes, revision=revision, mark=value)

    defaults(7, "60")
    defaults(6, "30")  # a gateway that was frozen
    defaults(7, "60")
    device.live(60)
    assert device.pushed == [(KEY, "60")]
    device.case.do(Connect, device.now, node="gw-2", slot=4, boot="b2")
    assert isinstance(device.case.reply, ConnectedReply)
    assert device.case.reply.defaults_mark == "60"


def test_a_boot_is_answered_the_heartbeat_interval_that_is_wanted_of_it_BOOT_1() -> None:
    device = Device(HeartbeatInterval="300").connect()
    for wanted, interval in (("120", 120), ("5", 300), ("often", 300), (None, 300)):
        device.wish("HeartbeatInterval", wanted).boot()
        assert device.case.reply == BootReply(status="Accepted", interval=interval)
        assert device.case.last(ChargePointBooted).interval == interval


def test_wishes_are_bounded_and_named_rightly() -> None:
    device = Device()
    device.case.do(WantVariables, wishes=tuple(Wish(key=f"Key{i}", value="1") for i in range(WISHES_MOST)))
    device.case.do(WantVariables, wishes=(Wish(key="More", value="1"),))
    assert device.case.refusal is Refusal.NOT_ALLOWED
    device.case.do(WantVariables, wishes=(Wish(key="Key0"), Wish(key="More", value="1")))
    assert isinstance(device.case.outcome, Accepted)
    device.case.do(WantVariables, wishes=(Wish(key="AuthorizationKey", value="00"),))
    assert str(device.case.refusal) == "invalid"


def test_wishes_are_bounded_in_bytes_too() -> None:
    device = Device()
    wide = tuple(Wish(key=f"Key{i}", value="\U0001f50c" * 500) for i in range(20))
    device.case.do(WantVariables, wishes=wide)
    assert device.case.refusal is Refusal.NOT_ALLOWED
    device.case.do(WantVariables, wishes=wide[:10])
    assert isinstance(device.case.outcome, Accepted)
    assert wrong_defaults({one.key: one.value or "" for one in wide}) == ": must be at most 30000 bytes"


def test_a_long_value_is_compared_as_a_whole_and_kept_by_its_beginning() -> None:
    long, other = "a" * 500, "a" * 499 + "b"
    device = Device(**{KEY: other}).connect().live(60).wish(value=long).live(60)
    assert (device.pushed, device.state()) == ([(KEY, long)], VariableState.IN_SYNC)
    assert device.case.state.wanted[KEY.casefold()].told == "a" * TOLD_MOST


def test_one_that_was_removed_wants_nothing_and_cannot_be_asked() -> None:
    device = Device().wish()
    device.case.do(Remove)
    assert device.case.state.wanted == {}
    device.wish()
    assert device.case.refusal is Refusal.UNKNOWN
    device.case.do(WantDefaults, wishes=(), revision=1, mark="x")
    assert device.case.refusal is Refusal.UNKNOWN


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("live"), st.sampled_from([1, 3, 90, 4000])),
            st.tuples(st.just("boot"), st.sampled_from(["1.0", "2.0"])),
            st.tuples(st.just("set"), st.sampled_from(["60", "900"])),
            st.tuples(st.just("takes"), st.sampled_from(["Accepted", "Rejected", "RebootRequired"])),
            st.tuples(st.just("silent"), st.booleans()),
            st.tuples(st.just("keeps"), st.booleans()),
            st.tuples(st.just("break"), st.just(0)),
        ),
        max_size=12,
    )
)
def test_whatever_it_does_it_is_pushed_three_times_at_most_and_then_shown(
    steps: list[tuple[str, Any]],
) -> None:
    """Between two times in sync, or since the wish or other firmware."""
    device = Device(**{KEY: "900"}).connect().wish()
    for name, value in steps:
        match name:
            case "live":
                device.live(value)
            case "boot":
                device.boot(value)
            case "set":
                device.values[KEY] = value
            case "break":
                connection = device.case.state.connection
                assert connection is not None
                device.case.do(Disconnect, device.now, epoch=connection.epoch, reason="closed 1006")
                device.case.do(Connect, device.now, node="gw-1", slot=3, boot="b1")
            case _:
                setattr(device, name, value)
    device.silent = False
    device.boot("3.0").live(2 * DAY)
    pushes = 0
    for event in device.case.log:
        match event:
            case CallRequested(intent=SetVariable()):
                pushes += 1
                assert pushes <= PUSHES_MOST
            case VariablesCompared(found=found) if found[0].state is VariableState.IN_SYNC:
                pushes = 0
            case ChargePointBooted():
                pushes = 0 if event.firmware_version != _firmware(device, event) else pushes
    one = device.case.state.wanted[KEY.casefold()]
    assert one.state is not VariableState.PENDING
    assert (one.state is VariableState.IN_SYNC) <= (device.values[KEY] == "60")


def _firmware(device: Device, boot: ChargePointBooted) -> str:
    """That of the boot before."""
    before = [
        one for one in device.case.all(ChargePointBooted) if one.originator_version < boot.originator_version
    ]
    return before[-1].firmware_version if before else ""
