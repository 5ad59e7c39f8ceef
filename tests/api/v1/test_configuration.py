"""`/chargepoints/{id}/configuration`: what is wanted and what is there, to an operator and to a viewer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.v1.caller import Caller
from application.read_back import wait_visible
from commands.base import Meta, Refusal
from commands.charge_point import Boot, ConcludeCall, Connect, RequestCall, WantVariables
from domain.charge_point.announced import Learned, Variable
from domain.intents import GetVariables
from tests.api.v1.test_flow import CHARGE_POINT, DEMO
from tests.api.v1.world import NOW, World, deciding, problem

PATH = "/chargepoints/CP1/configuration"


async def do(world: World, command: Any, id: str) -> Any:
    reply = await world.services.bus.ask(command, Meta(command_id=id, at=NOW, tenant="demo"), 10)
    assert reply.refusal is None, reply.message
    return reply


async def test_what_an_operator_wants_is_shown_beside_what_the_charge_point_says(tmp_path: Path) -> None:
    async with deciding(tmp_path) as world:
        await world.call("POST", "/tenants", DEMO, role="platform_admin")
        await world.call("POST", "/chargepoints", CHARGE_POINT)
        whose: dict[str, Any] = {"tenant": "demo", "charge_point_id": "CP1"}

        wishes = {"MeterValueSampleInterval": "60", "NumberOfConnectors": "4", "Colour": "red"}
        wished = await world.call("PATCH", PATH, {"wanted": wishes}, role="operator")
        assert wished.status_code == 200, wished.text
        assert {one["key"]: one["state"] for one in wished.json()["items"]} == dict.fromkeys(
            wishes, "pending"
        )

        await do(world, Connect(**whose, node="n", slot=1, boot="b", quiet_s=10**6), "connect")
        await do(world, Boot(**whose, vendor="v", model="m"), "boot")
        told = Learned(
            variables=(
                Variable(key="MeterValueSampleInterval", value="60.0"),
                Variable(key="NumberOfConnectors", value="2", readonly=True),
                Variable(key="HeartbeatInterval", value="300"),
            ),
            unknown=("Colour",),
        )
        read = RequestCall(
            **whose, command_id="r", intent=GetVariables(), expires_at=NOW + timedelta(days=36_500)
        )
        await do(world, read, "read")
        reply = await do(
            world, ConcludeCall(**whose, command_id="r", status="accepted", learned=told), "told"
        )
        assert await wait_visible(
            world.store, "ocpp_demo", "charge_points", "CP1", reply.version, patience=20
        )

        one = await world.call("PUT", f"{PATH}/LocalPreAuthorize", {"value": "true"}, role="operator")
        assert (
            one.json() | {"key": "LocalPreAuthorize", "wanted": "true", "source": "charge_point"}
            == one.json()
        )
        listed = await world.call("GET", PATH, role="viewer")
        gone = await world.call("DELETE", f"{PATH}/localpreauthorize", role="operator")
        assert gone.status_code == 204
        states = {item["key"]: (item["state"], item["actual"]) for item in listed.json()["items"]}
        assert states == {
            "Colour": ("unknown", None),
            "HeartbeatInterval": (None, "300"),
            "LocalPreAuthorize": ("pending", None),
            "MeterValueSampleInterval": ("in_sync", "60.0"),
            "NumberOfConnectors": ("refused", "2"),
        }
        refused = await world.call("GET", f"{PATH}?state=refused", role="viewer")
        assert [item["key"] for item in refused.json()["items"]] == ["NumberOfConnectors"]
        worst = await world.call("GET", "/chargepoints?configuration=refused", role="viewer")
        assert [item["id"] for item in worst.json()["items"]] == ["CP1"]
        drifting = await world.call("GET", "/chargepoints?configuration=drift", role="viewer")
        assert drifting.json()["items"] == []


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({"AuthorizationKey": "00"}, "wanted.AuthorizationKey"),
        ({"Key": "s1.sealed"}, "wanted.Key"),
        ({"": "1"}, "wanted."),
    ],
)
async def test_what_cannot_be_wished_for_is_named_SEC_04(world: World, wanted: Any, path: str) -> None:
    response = await world.call("PATCH", PATH, {"wanted": wanted}, role="operator")
    assert response.status_code == 422
    [error] = msgspec.convert(problem(response)["errors"], list[dict[str, str]])
    assert error["path"] == path
    assert world.bus.asked == []


async def test_what_is_shown_of_a_variable(world: World) -> None:
    key = {"key": "HeartbeatInterval", "value": "300", "readonly": False, "after_reboot": None}
    drift = {
        "key": "Colour",
        "default": "red",
        "state": "drift",
        "told": "blue",
        "pushes": 3,
        "reason": "Accepted",
    }
    await world.add_charge_point(
        configuration={"heartbeat_interval": 300, "meter_values_interval": None, "keys": [key]},
        wanted=[drift],
    )
    response = await world.call("GET", PATH, role="viewer")
    nothing = {"wanted": None, "source": None, "state": None, "reason": None, "pushes": 0}
    assert response.json()["items"] == [
        {
            "key": "Colour",
            "actual": "blue",
            "wanted": "red",
            "source": "tenant",
            "state": "drift",
            "reason": "Accepted",
            "pushes": 3,
            "readonly": None,
            "after_reboot": None,
        },
        {"key": "HeartbeatInterval", "actual": "300", "readonly": False, "after_reboot": None, **nothing},
    ]


async def test_a_charge_point_that_nobody_knows_has_no_configuration(world: World) -> None:
    assert (await world.call("GET", PATH, role="viewer")).status_code == 404
    world.bus.refuses(Refusal.UNKNOWN, "charge point CP1 is not known")
    response = await world.call("PUT", f"{PATH}/Key", {"value": "1"}, role="operator")
    assert response.status_code == 404
    assert isinstance(world.bus.asked[0][0], WantVariables)


async def test_a_wish_that_the_read_models_do_not_show_is_answered_as_it_was_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with deciding(tmp_path) as world:
        await world.call("POST", "/tenants", DEMO, role="platform_admin")
        await world.call("POST", "/chargepoints", CHARGE_POINT)

        async def since(caller: Caller, db: str, collection: str, id: str, reply: Any) -> Any:
            await world.call("DELETE", f"{PATH}/Colour", role="operator")
            return await visible(caller, db, collection, id, reply)

        visible = Caller.visible

        def once(caller: Caller, *of: Any) -> Any:
            monkeypatch.setattr(Caller, "visible", visible)
            return since(caller, *of)

        monkeypatch.setattr(Caller, "visible", once)
        response = await world.call("PUT", f"{PATH}/Colour", {"value": "red"}, role="operator")
        assert response.status_code == 200, response.text
        assert (response.json()["wanted"], response.json()["state"]) == ("red", "pending")
