"""What the bench commands share: their options, the folder of a run, and the tenant under load."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from bench.backend import Backend
from chargesphere.demo.api_client import ApiClient
from chargesphere.demo.emsp import Card, Emsp, make_cards
from tests.servers.kafka import JVMS

TENANT: Final = "bench"
TAGS: Final = 90
CARDS: Final = 10


def common(parser: argparse.ArgumentParser) -> None:
    """Options of every command that runs the whole system."""
    parser.add_argument("--runtime", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--gateways", type=int, default=1)
    parser.add_argument("--deciders", type=int, default=1)
    parser.add_argument("--clients", type=int, default=2, help="client processes")
    parser.add_argument(
        "--jvm",
        choices=tuple(JVMS),
        default="server",
        help="Kafka's Java machine: small as for the tests, or as in production (C2, G1, 1 GB)",
    )
    parser.add_argument(
        "--data", type=Path, help="parent folder of the run's data (default: the system's own)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with data and logs")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result here too")


@contextlib.contextmanager
def run_folder(options: argparse.Namespace) -> Iterator[Path]:
    """A new folder for data and logs; SIGTERM ends a run as Ctrl-C does, so that every process is ended."""

    def told(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, told)
    folder = Path(tempfile.mkdtemp(prefix="chargesphere-bench-", dir=options.data))
    try:
        yield folder
    finally:
        signal.signal(signal.SIGTERM, before)
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


def tenant_body(points: int, party_id: str = "BEN") -> dict[str, Any]:
    """A tenant that takes in any charge point and slows none down; its tariff is a plain one."""
    return {
        "id": TENANT,
        "name": "Bench",
        "configuration": {
            "max_charge_points": points + 1000,
            "max_auto_registered": points + 1000,
            "api_rate_limit": 1_000_000,
            "ocpp_rate_limit": 1_000_000,
            "worker_pool_size": 10_000,
            "auto_register": True,
            "default_location": {
                "id": "DEPOT",
                "name": "Depot",
                "address": "Lagerstraße 1",
                "city": "Berlin",
                "postal_code": "10115",
                "country": "DEU",
                "coordinates": {"latitude": "52.530000", "longitude": "13.380000"},
                "time_zone": "Europe/Berlin",
            },
            "default_tariff_id": "PLAIN",
            "ocpi": {"country_code": "DE", "party_id": party_id, "business_details": {"name": "Bench"}},
        },
    }


TARIFF: Final[dict[str, Any]] = {
    "currency": "EUR",
    "tax_included": "NO",
    "elements": [{"price_components": [{"type": "ENERGY", "price": 0.45, "vat": 19, "step_size": 1}]}],
}


def bench_emsp() -> Emsp:
    """An eMSP whose cards are whitelisted ALWAYS, and which refuses nothing."""
    cards = tuple(Card(card.uid, "ALWAYS", card.contract_id) for card in make_cards(CARDS))
    return Emsp(cards, refuse_every=0)


async def prepare(backend: Backend, emsp: Emsp, points: int) -> tuple[str, ...]:
    """The tenant, its tariff and its tags, and the eMSP with its cards; returns the tags to charge with."""
    api = ApiClient(backend.api_url, backend.token)
    try:
        await api.ask("POST", "/tenants", tenant_body(points))
        await api.ask("PUT", "/tariffs/PLAIN", TARIFF, tenant=TENANT)
        tags = [f"BENCH{number:03d}" for number in range(TAGS)]
        accepted = {"status": "Accepted"}
        await asyncio.gather(*(api.ask("PUT", f"/tokens/{tag}", accepted, tenant=TENANT) for tag in tags))
        body = {
            "id": "bench-emsp",
            "name": emsp.name,
            "roles": [{"role": "EMSP", "country_code": "NL", "party_id": "TNM"}],
        }
        answer = await api.ask("POST", "/partners", body)
        await emsp.register(str(answer["versions_url"]), str(answer["token_a"]))
        await emsp.push_tokens()
    finally:
        await api.close()
    await asyncio.sleep(1.0)
    return (*tags, *emsp.cards)
