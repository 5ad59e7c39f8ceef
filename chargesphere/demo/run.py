"""`chargesphere demo`: the product, in this process or on processes, and a small network that lives on it.

The network talks to it through its public doors only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

from api.auth import issue_token
from chargesphere.demo.network import LAST_START, LEAST_SECONDS, Network
from chargesphere.demo.processes import scaled_out
from chargesphere.errors import CannotBeginError
from chargesphere.process import ALL, Plan, running
from chargesphere.settings import Settings, is_loopback, local_secrets, read_settings
from chargesphere.tuning import run


def run_demo(options: argparse.Namespace) -> int:
    """0 only if at least one charge finished and every finished one became a delivered CDR."""
    settings = read_settings()
    if (options.gateways, options.deciders) != (1, 1) and not settings.kafka_bootstrap:
        raise CannotBeginError(
            "--gateways and --deciders need CHARGESPHERE_KAFKA_BOOTSTRAP; without it all is one process"
        )
    if not is_loopback(options.host):
        raise CannotBeginError("the demo plays partners on this machine: --host must be a loopback address")
    if options.seconds is not None and not options.seconds >= LEAST_SECONDS:
        raise CannotBeginError(
            f"--for {options.seconds:g} is too short: in the last {LAST_START:g} s no charge begins, "
            f"so it needs {LEAST_SECONDS:g} at least"
        )
    with contextlib.ExitStack() as stack:
        outside = settings.kafka_bootstrap or settings.mongo_url
        # What lies on servers outlives this run, and so must the keys to it.
        data = options.data or (Path("data") if outside else None)
        if data is None:
            data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chargesphere-")))
        return run(_demo(options, settings, data))


async def _demo(options: argparse.Namespace, settings: Settings, data: Path) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    over = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    loop.add_signal_handler(signal.SIGINT, over.set)
    try:
        async with _product(options, settings, data) as (http_url, ocpp_urls, token):
            return await Network(http_url, ocpp_urls, token).run(options.seconds, over)
    except asyncio.CancelledError:
        return 130


@contextlib.asynccontextmanager
async def _product(
    options: argparse.Namespace, settings: Settings, data: Path
) -> AsyncIterator[tuple[str, list[str], Callable[[], str]]]:
    settings = dataclasses.replace(settings, allow_private_urls=True)
    if settings.jwt_secret is None or settings.master_key is None:
        jwt, master = local_secrets(data)
        settings = dataclasses.replace(
            settings, jwt_secret=settings.jwt_secret or jwt, master_key=settings.master_key or master
        )
    secret = settings.jwt_secret
    assert secret is not None

    def token() -> str:
        return issue_token(secret, role="platform_admin", tenant=None, now=datetime.now(UTC))

    if settings.kafka_bootstrap:
        async with scaled_out(settings, options.host, options.gateways, options.deciders) as (http, ocpp):
            yield http, ocpp, token
        return
    plan = Plan(frozenset(ALL), "serve", options.host, options.http_port, options.ocpp_port, data)
    async with running(plan, settings) as process:
        yield process.http_url, [process.ocpp_url], token
