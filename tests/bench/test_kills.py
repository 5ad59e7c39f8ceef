"""The kill runs in their short form: what is promised holds although processes end at any moment.

`make drills` kills each process twenty times, with two of every one, freezes them and lets third ones come and go.
"""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from bench import kills
from bench.backend import Backend
from tests.servers import Kafka, Mongo, Mosquitto, Redis


def report_of(runtime: str, folder: Path, times: int) -> dict[str, object]:
    console = Console(file=io.StringIO())
    backend = Backend(runtime, folder, gateways=1, deciders=2)
    with backend.running():
        return kills.report(backend, folder, times, seed=1, console=console)


@pytest.mark.kill
@pytest.mark.long(30)
@pytest.mark.timeout(400)
def test_nothing_promised_is_broken_when_the_whole_product_is_killed(tmp_path: Path) -> None:
    found = report_of("embedded", tmp_path, 1)

    assert found["problems"] == []
    assert found["disturbances"] == 2


@pytest.mark.kill
@pytest.mark.long(240)
@pytest.mark.timeout(900)
@pytest.mark.kafka
@pytest.mark.mongo
def test_nothing_promised_is_broken_when_any_process_or_server_is_killed(tmp_path: Path) -> None:
    lacking = [kind.what_is_missing() for kind in (Kafka, Mongo, Redis, Mosquitto)]
    if any(lacking):
        pytest.skip(f"install {', '.join(what for what in lacking if what)}")
    found = report_of("kafka", tmp_path, 1)

    assert found["problems"] == []
    assert found["disturbances"] == 7
