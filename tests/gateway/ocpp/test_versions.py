"""A version of OCPP is one table: the sockets, the queue and the audit take it by the subprotocol."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime

import msgspec
import pytest

from domain.charge_point.announced import Learned
from domain.intents import Intent, RemoteStart
from gateway.ocpp import versions
from gateway.ocpp.v16 import V16
from gateway.ocpp.version import Judged, WireCall
from protocols.ocpp.message import Decoded, Mode, Request
from protocols.ocpp.v16.messages.core import BootNotificationRequest
from tests.gateway.ocpp.fakes import eventually, world


def _request(intent: Intent) -> WireCall:
    assert isinstance(intent, RemoteStart)
    payload = json.dumps({"idToken": intent.id_tag}).encode()
    return WireCall("RequestStartTransaction", payload, b"{}")


def _decode(
    action: str,
    payload: bytes | msgspec.Raw,
    *,
    mode: Mode = Mode.STRICT,
    received_at: datetime | None = None,
) -> Decoded[Request]:
    return Decoded(HELLO, (), bytes(payload))


HELLO = BootNotificationRequest(charge_point_vendor="Acme", charge_point_model="Box")
OTHER = dataclasses.replace(
    V16,
    actions=("Hello",),
    handlers={"Hello": V16.handlers["BootNotification"]},
    decode_request=_decode,
    encode=lambda message: b'{"welcome":true}',
    calls={RemoteStart: "RequestStartTransaction"},
    request=_request,
    judge=lambda intent, payload: Judged("accepted", "Fine", {"as": "it is"}, Learned(), b"{}"),
)


async def test_another_version_is_spoken_where_its_subprotocol_is_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(versions.VERSIONS, "ocpp9", OTHER)
    async with world() as w, w.connected(subprotocols=["ocpp8", "ocpp9"]) as cp:
        assert cp.socket.subprotocol == "ocpp9"
        assert await cp.call("Hello", {}) == {"welcome": True}
        assert (w.frames.frames[-1].action, w.state().registration.status) == ("Hello", "Accepted")
        await w.request("RemoteStartTransaction", {"idTag": "s1.0123456789.alice-sealed"})
        frame = await cp.frame()
        assert frame[2:] == ["RequestStartTransaction", {"idToken": "ALICE"}]
        await cp.socket.send(json.dumps([3, frame[1], {"whatever": 1}]))
        event = await w.concluded()
        assert (event.kind, event.status, event.reason) == ("remote_start", "accepted", "Fine")
        await eventually(lambda: any(one.direction == "out" for one in w.frames.frames))
        (kept,) = [one for one in w.frames.frames if one.direction == "out"]
        assert (kept.action, kept.request, kept.response) == ("RequestStartTransaction", b"{}", b"{}")


@pytest.mark.parametrize(
    ("offered", "spoken"),
    [
        (["ocpp1.6"], "ocpp1.6"),
        (["ocpp9", "ocpp1.6"], "ocpp1.6"),
        (["ocpp1.5", "ocpp9"], "ocpp9"),
        (["ocpp1.5"], None),
        ([], None),
    ],
)
def test_the_first_of_ours_that_is_offered_is_spoken_J_04(
    offered: list[str], spoken: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(versions.VERSIONS, "ocpp9", OTHER)
    assert versions.common(offered) == spoken
