"""Our calls to a charge point: downlinks in, frames out, and one conclusion for each."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from commands.base import Downlink, Refusal
from commands.charge_point import NoteCallSent, OfferCredentials
from domain.charge_point import CallConcluded, CallSent, CredentialsSet
from domain.intents import ClearCache, GetVariables
from tests.commands.charge_point_case import after
from tests.gateway.ocpp.fakes import PASSWORD, Client, World, eventually, world

SEALED = "s1.0123456789.alice-sealed"


async def answer(cp: Client, payload: object) -> Any:
    """Answer the call that comes next; the frame that it was."""
    frame = await cp.frame()
    await cp.socket.send(json.dumps([3, frame[1], payload]))
    return frame


async def test_a_remote_call_is_sent_and_its_answer_concludes_it_TC_013() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("Reset", {"type": "Soft"})
        kind, id, action, payload = await answer(cp, {"status": "Accepted"})
        assert (kind, action, payload) == (2, "Reset", {"type": "Soft"})
        assert len(id) <= 36
        event = await w.concluded()
        assert (event.command_id, event.status, event.reason) == ("r1", "accepted", "Accepted")
        assert event.response == {"status": "Accepted"}


async def test_sealed_texts_are_opened_for_the_wire_only_TC_010() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("RemoteStartTransaction", {"idTag": SEALED, "connectorId": 1})
        frame = await answer(cp, {"status": "Rejected"})
        assert frame[3] == {"idTag": "ALICE", "connectorId": 1}
        event = await w.concluded()
        assert (event.status, event.reason) == ("rejected", "Rejected")
        assert b"ALICE" not in msgspec.json.encode(w.bus.log)


async def test_a_sealed_text_without_its_key_fails_the_call() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("RemoteStartTransaction", {"idTag": "s1.0123456789.key-destroyed"})
        assert (await w.concluded()).reason == "a sealed text in it cannot be opened"


async def test_a_payload_that_ocpp_does_not_know_is_not_sent() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("TriggerMessage", {"requestedMessage": "LogStatusNotification"})
        event = await w.concluded()
        assert event.status == "failed"
        assert event.reason.startswith("PropertyConstraintViolation")


@pytest.mark.parametrize(
    ("action", "payload", "response", "status", "reason"),
    [
        ("UnlockConnector", {"connectorId": 1}, {"status": "Unlocked"}, "accepted", "Unlocked"),
        ("UnlockConnector", {"connectorId": 1}, {"status": "UnlockFailed"}, "rejected", "UnlockFailed"),
        (
            "ChangeAvailability",
            {"connectorId": 0, "type": "Inoperative"},
            {"status": "Scheduled"},
            "accepted",
            "Scheduled",
        ),
        ("GetLocalListVersion", {}, {"listVersion": 3}, "accepted", ""),
        ("ClearCache", {}, {"status": 7}, "failed", None),
    ],
)
async def test_the_charge_points_own_status_is_the_outcome(
    action: str, payload: Any, response: Any, status: str, reason: str | None
) -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request(action, payload)
        await answer(cp, response)
        event = await w.concluded()
        assert event.status == status
        assert reason is None or event.reason == reason


async def test_a_call_error_is_a_failure_with_its_code() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("ClearCache", {})
        frame = await cp.frame()
        await cp.socket.send(json.dumps([4, frame[1], "NotSupported", "", {}]))
        event = await w.concluded()
        assert (event.status, event.reason) == ("failed", "CALLERROR NotSupported")


async def test_a_connection_dropped_in_the_middle_fails_its_calls_at_once_J_10() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await cp.boot()
            await w.request("Reset", {"type": "Hard"})
            await w.request("ClearCache", {}, "r2")
            await cp.frame()
            cp.socket.transport.abort()
            await w.concluded(2)
        assert {(e.command_id, e.status, e.reason) for e in w.bus.all(CallConcluded)} == {
            ("r1", "failed", "disconnected"),
            ("r2", "failed", "disconnected"),
        }


async def test_a_replaced_connection_fails_its_calls_as_replaced_J_20() -> None:
    async with world() as w, w.connected() as first:
        await first.boot()
        await w.request("Reset", {"type": "Hard"})
        await first.frame()
        async with w.connected():
            event = await w.concluded()
            assert (event.status, event.reason) == ("failed", "replaced")


async def test_one_call_at_a_time_the_urgent_first_J_09_J_10() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("GetConfiguration", {}, "r1")
        first = await cp.frame()
        await w.request("ClearCache", {}, "r2")
        await w.request("UnlockConnector", {"connectorId": 1}, "r3")
        assert "currentTime" in await cp.call("Heartbeat", {})
        await cp.socket.send(json.dumps([3, first[1], {"configurationKey": []}]))
        assert (await answer(cp, {"status": "Unlocked"}))[2] == "UnlockConnector"
        assert (await answer(cp, {"status": "Accepted"}))[2] == "ClearCache"
        await w.concluded(3)


async def test_both_directions_cross_freely_J_09() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("ClearCache", {})
        frame = await cp.frame()
        assert "currentTime" in await cp.call("Heartbeat", {})
        await cp.socket.send(json.dumps([3, frame[1], {"status": "Accepted"}]))
        assert (await w.concluded()).status == "accepted"


async def test_a_silent_charge_point_times_out_and_the_next_call_goes_on() -> None:
    async with world() as w:
        w.tenant(call_timeout=0.05)
        async with w.connected() as cp:
            await cp.boot()
            await w.request("ClearCache", {}, "r1")
            late = await cp.frame()
            event = await w.concluded()
            assert (event.status, event.reason) == ("timed_out", "no answer in time")
            await w.request("Reset", {"type": "Soft"}, "r2")
            await cp.socket.send(json.dumps([3, late[1], {"status": "Accepted"}]))
            await answer(cp, {"status": "Accepted"})
            await w.concluded(3)
            assert {(e.command_id, e.status, e.late) for e in w.bus.all(CallConcluded)[1:]} == {
                ("r1", "accepted", True),
                ("r2", "accepted", False),
            }


class EarlyLoop(asyncio.SelectorEventLoop):
    """Rings every timer before its time by the loop's own clock, as uvloop does by up to half a millisecond."""

    def call_at(  # type: ignore[override]  # what it takes is the loop's own affair
        self, when: float, *args: Any, **kwargs: Any
    ) -> asyncio.TimerHandle:
        return super().call_at(when - 0.005, *args, **kwargs)


def test_a_timer_that_rings_early_gives_its_call_up_and_the_next_one_goes_on() -> None:
    async def scenario() -> None:
        async with world() as w:
            w.tenant(call_timeout=0.05)
            async with w.connected() as cp:
                await cp.boot()
                await w.request("ClearCache", {}, "r1")
                await cp.frame()
                assert (await w.concluded()).status == "timed_out"
                await w.request("Reset", {"type": "Soft"}, "r2")
                assert (await cp.frame())[2] == "Reset"

    with asyncio.Runner(loop_factory=EarlyLoop) as runner:
        runner.run(scenario())


async def test_a_call_that_cannot_be_made_keeps_no_other_from_its_charge_point() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()

        async def broken(*_: object) -> Any:
            raise RuntimeError("broken on purpose")

        w.directory.charge_point = broken  # type: ignore[method-assign,assignment]
        await w.request("ChangeConfiguration", {"key": "AuthorizationKey", "value": NEW_KEY})
        event = await w.concluded()
        assert (event.status, event.reason) == ("failed", "the call could not be made")
        await w.request("Reset", {"type": "Soft"}, "r2")
        assert (await cp.frame())[2] == "Reset"


async def test_a_call_is_sent_when_its_frame_is_on_the_wire_and_answered_from_then_on() -> None:
    async with world() as w:
        w.tenant(call_timeout=30.0)
        async with w.connected() as cp:
            await cp.boot()
            await w.request("GetConfiguration", {}, "slow", expires_at=after(120))
            slow = await cp.frame()
            await w.bus.until(CallSent)
            await w.request("UnlockConnector", {"connectorId": 1}, "stop", expires_at=after(120))
            w.clock.move(29.9)
            assert "currentTime" in await cp.call("Heartbeat", {})
            assert [event.command_id for event in w.bus.all(CallSent)] == ["slow"]
            await cp.socket.send(json.dumps([3, slow[1], {"configurationKey": []}]))
            frame = await cp.frame()
            sent = await w.bus.until(CallSent, 2)
            assert (sent.command_id, sent.answer_by) == ("stop", after(29.9 + 30))
            await cp.socket.send(json.dumps([3, frame[1], {"status": "Unlocked"}]))
            assert (await w.concluded(2)).status == "accepted"


async def test_a_call_that_waited_too_long_in_the_queue_is_never_sent() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("GetConfiguration", {}, "slow")
        slow = await cp.frame()
        await w.request("ClearCache", {}, "r2", expires_at=after(10))
        await w.request("Reset", {"type": "Soft"}, "r3", expires_at=after(60))
        w.clock.move(11)
        await cp.socket.send(json.dumps([3, slow[1], {"configurationKey": []}]))
        assert (await answer(cp, {"status": "Accepted"}))[2] == "Reset"
        await w.concluded(3)
        statuses = {event.command_id: event.status for event in w.bus.all(CallConcluded)}
        assert statuses == {"slow": "accepted", "r2": "expired", "r3": "accepted"}


async def test_the_systems_own_call_is_not_told_as_sent() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        w.channel.downlink(
            Downlink(
                slot=w.channel.slot,
                boot=w.channel.boot,
                tenant="demo",
                charge_point_id="CP-1",
                connection_epoch=w.state().connection.epoch,
                command_id="configuration-1",
                intent=GetVariables(),
                expires_at=after(30),
                own=True,
            )
        )
        await answer(cp, {"configurationKey": []})
        await eventually(lambda: len(w.conclusions()) == 1)
        assert not any(isinstance(command, NoteCallSent) for command in w.bus.told)


async def test_what_a_charge_point_says_of_its_refusal_is_kept_without_what_was_sealed() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("RemoteStartTransaction", {"idTag": SEALED, "connectorId": 1})
        frame = await cp.frame()
        await cp.socket.send(json.dumps([4, frame[1], "InternalError", "tag alice\nis on no list", {}]))
        event = await w.concluded()
        assert event.reason == "CALLERROR InternalError: tag *** is on no list"


async def test_a_vendors_secret_key_is_kept_in_no_frame_SEC_04() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("ChangeConfiguration", {"key": "ModemPassword", "value": "hush"})
        await answer(cp, {"status": "Accepted"})
        await w.concluded()
        assert json.loads(w.frames.frames[-1].request) == {"key": "ModemPassword"}


async def test_a_call_whose_time_is_over_is_not_sent_and_a_repeat_not_twice() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        epoch = w.state().connection.epoch

        def downlink(command_id: str, seconds: float, epoch: int = epoch) -> Downlink:
            return Downlink(
                slot=w.channel.slot,
                boot=w.channel.boot,
                tenant="demo",
                charge_point_id="CP-1",
                connection_epoch=epoch,
                command_id=command_id,
                intent=ClearCache(),
                expires_at=w.clock.now() + timedelta(seconds=seconds),
            )

        for item in (
            downlink("late", -1),
            downlink("other", 30, epoch - 1),
            downlink("a", 30),
            downlink("a", 30),
        ):
            w.channel.downlink(item)
        await answer(cp, {"status": "Accepted"})
        await eventually(lambda: len(w.conclusions()) == 2)
        assert {(c.command_id, c.status) for c in w.conclusions()} == {("late", "expired"), ("a", "accepted")}
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cp.socket.recv(), 0.05)


async def test_nothing_is_sent_to_a_charge_point_that_is_gone() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await cp.boot()
        await eventually(lambda: w.state().connection is None)
        assert (await w.request("ClearCache", {})).refusal is Refusal.NOT_CONNECTED


async def test_an_accepted_authorization_key_is_the_password_from_then_on_SEC_03() -> None:
    new_key = "ffeeddccbbaa99887766554433221100"
    async with world() as w:
        async with w.connected() as cp:
            await cp.boot()
            await w.request("ChangeConfiguration", {"key": "AuthorizationKey", "value": new_key})
            await answer(cp, {"status": "Accepted"})
            await w.bus.until(CredentialsSet, 3)
        async with w.connected(password=new_key):
            pass
        assert all(new_key.encode() not in frame.request for frame in w.frames.frames)


async def test_a_reported_authorization_key_is_not_kept_SEC_04() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("GetConfiguration", {})
        names = ("AuthorizationKey", "ModemPassword")
        keys = [{"key": name, "readonly": False, "value": "secret"} for name in names]
        await answer(cp, {"configurationKey": keys})
        kept = {"configurationKey": [{"key": name, "readonly": False} for name in names]}
        assert (await w.concluded()).response == kept
        assert json.loads(w.frames.frames[-1].response) == kept


async def test_our_calls_are_recorded_for_the_audit() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("ClearCache", {})
        await answer(cp, {"status": "Accepted"})
        await w.concluded()
        frame = w.frames.frames[-1]
        assert (frame.direction, frame.action, frame.outcome, frame.command_id) == (
            "out",
            "ClearCache",
            "ok",
            "r1",
        )
        assert json.loads(frame.response) == {"status": "Accepted"}


async def test_the_end_of_a_call_is_told_again_when_the_log_comes_back() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.request("ClearCache", {})
        w.bus.away = True
        await answer(cp, {"status": "Accepted"})
        asyncio.get_running_loop().call_later(0.1, setattr, w.bus, "away", False)
        assert (await w.concluded()).status == "accepted"


NEW_KEY = "ffeeddccbbaa99887766554433221100"


async def tell_new_key(w: World, cp: Client) -> None:
    """The charge point is told a new key, and has read it."""
    await cp.boot()
    await w.request("ChangeConfiguration", {"key": "AuthorizationKey", "value": NEW_KEY})
    frame = await cp.frame()
    assert frame[3]["value"] == NEW_KEY


@pytest.mark.parametrize("used", [PASSWORD, NEW_KEY])
async def test_after_an_unknown_outcome_both_keys_are_right_until_a_login_decides_SEC_03(used: str) -> None:
    async with world() as w:
        async with w.connected() as cp:
            await tell_new_key(w, cp)
            assert w.state().alternative_hash
        assert (await w.concluded()).reason == "disconnected"
        async with w.connected(password=used):
            assert not w.state().alternative_hash
        other = NEW_KEY if used == PASSWORD else PASSWORD
        with pytest.raises(InvalidStatus):
            async with w.connected(password=other):
                pass
        async with w.connected(password=used):
            pass


async def test_a_wrong_key_is_wrong_while_two_are_right() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await tell_new_key(w, cp)
        with pytest.raises(InvalidStatus):
            async with w.connected(password="0" * 32):
                pass
        assert w.state().alternative_hash


async def test_a_key_that_was_refused_is_wrong_at_once_SEC_03() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await cp.boot()
            await w.request("ChangeConfiguration", {"key": "AuthorizationKey", "value": NEW_KEY})
            await answer(cp, {"status": "Rejected"})
            await w.bus.until(CredentialsSet, 3)
        assert not w.state().alternative_hash
        with pytest.raises(InvalidStatus):
            async with w.connected(password=NEW_KEY):
                pass
        async with w.connected():
            pass


async def test_a_key_is_not_told_while_it_cannot_be_kept() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        w.bus.refuse = OfferCredentials
        await w.request("ChangeConfiguration", {"key": "AuthorizationKey", "value": NEW_KEY})
        event = await w.concluded()
        assert (event.status, event.reason) == ("failed", "the log is away: a new key cannot be kept")
