"""Live streams of the whole product, heard as docs/live.md says, and the end of a process with a listener."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import httpx

from api.auth import issue_token
from application.live.bookmark import Bookmark
from chargesphere.process import Plan, running
from chargesphere.settings import read_settings
from commands.base import Meta
from commands.charge_point import ReportStatus
from projections.public import SHORT_NAMES
from projections.store import HUB
from streams.log.topology import PUBLIC
from tests.chargesphere.installation import CHARGE_POINT, TENANT, charge
from tests.streams.harness import until

PAGE = (Path(__file__).parents[2] / "docs" / "live.md").read_text()
Listen = Callable[[str, str, str], Iterator[tuple[str, dict[str, Any]]]]


def listen() -> Listen:
    """The function that the page shows."""
    [code] = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    scope: dict[str, object] = {}
    exec(compile(code, "live.md", "exec"), scope)  # noqa: S102
    return cast(Listen, scope["listen"])


def test_the_page_names_every_type() -> None:
    [row] = [line for line in PAGE.splitlines() if line.startswith("| `types`")]
    assert re.findall(r"`(\w+)`", row) == ["types", *SHORT_NAMES]


async def test_a_charge_is_heard_from_its_beginning_then_what_happens_and_the_process_ends_all_the_same(
    tmp_path: Path,
) -> None:
    plan = Plan(frozenset(("api", "decider", "projector", "effects")), "serve", "127.0.0.1", 0, 0, tmp_path)
    heard: list[dict[str, Any]] = []
    async with running(plan, read_settings({})) as process:
        backbone, now = process.backbone, datetime.now(UTC)
        await charge(backbone, now)
        while await backbone.store.get(HUB, "tenants", TENANT) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        partitions = backbone.log.layout.partitions
        beginning = Bookmark(partitions, [0] * partitions * len(PUBLIC)).text()
        bearer = issue_token(backbone.jwt_keys[0], "viewer", TENANT, now)

        def hear() -> None:
            heard.extend(data for _, data in listen()(process.http_url, bearer, beginning))

        def has(type: str, count: int = 1) -> bool:
            return [one.get("type") for one in heard].count(f"chargesphere.{type}.v1") == count

        hearing = asyncio.create_task(asyncio.to_thread(hear))
        await until(lambda: has("cdr.issued") and has("charge_point.status"))
        status = ReportStatus(
            tenant=TENANT, charge_point_id=CHARGE_POINT, connector_id=1, status="Faulted", timestamp=now
        )
        await backbone.bus.ask(status, Meta(command_id="live", at=now, tenant=TENANT))
        await until(lambda: has("charge_point.status", 2))
        async with httpx.AsyncClient() as http:
            metrics = (await http.get(f"{process.http_url}/metrics")).text
    async with asyncio.timeout(10):
        await hearing

    assert 'chargesphere_engine{count="subscribers",engine="live"} 1.0' in metrics
    assert heard[-1] == {"reason": "shutdown"}
    types = [one["type"].removeprefix("chargesphere.") for one in heard[:-1]]
    assert types.index("session.started.v1") < types.index("session.ended.v1")
    assert {one["data"]["charge_point_id"] for one in heard[:-1]} == {CHARGE_POINT}
    assert {one["tenantid"] for one in heard[:-1]} == {TENANT}
