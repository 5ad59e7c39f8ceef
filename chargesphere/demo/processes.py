"""The product on processes, for the demo and the bench: gateways, an api, deciders, a projector, effects.

Each child prints where it listens; children are ended by SIGTERM, by SIGKILL where that does not help in time.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from chargesphere.errors import CannotBeginError
from chargesphere.settings import PREFIX, Settings, need_for_scale_out

START_SECONDS = 90.0


@dataclass(slots=True)
class Child:
    """One process of ours; its URLs once it is ready."""

    role: str
    node: str
    words: list[str]
    environment: dict[str, str]
    process: asyncio.subprocess.Process | None = None
    http_url: str = ""
    ocpp_url: str = ""
    output: list[str] = field(default_factory=list)
    reader: asyncio.Task[None] | None = None
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def start(self) -> None:
        """Start, and wait until it says that it is ready. Raises CannotBeginError with its last lines."""
        self.ready.clear()
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "chargesphere",
            *self.words,
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self.reader = asyncio.create_task(self._read())
        ready = asyncio.create_task(self.ready.wait())
        ended = asyncio.create_task(self.process.wait())
        await asyncio.wait({ready, ended}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (ready, ended):
            task.cancel()
        if not self.ready.is_set():
            raise CannotBeginError(
                f"{self.node} did not start: {' | '.join(self.output[-3:]) or 'it said nothing'}"
            )

    async def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        async for raw in self.process.stdout:
            line = raw.decode(errors="replace").rstrip()
            self.output = [*self.output[-50:], line]
            if line.startswith("charge points: "):
                self.ocpp_url = line.split(" ", 2)[2].partition("/ocpp/")[0]
            elif line.startswith(f"{self.node} is ready: "):
                self.http_url = line.rpartition(" ")[2]
                self.ready.set()
            elif os.environ.get("DEMO_VERBOSE"):
                print(f"{self.node}: {line}", file=sys.stderr)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not help."""
        process = self.process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                async with asyncio.timeout(15):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self.reader is not None:
            self.reader.cancel()


def environment(settings: Settings) -> dict[str, str]:
    """The settings as a child reads them."""
    assert settings.jwt_secret is not None and settings.master_key is not None
    values: Mapping[str, str | None] = {
        "KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "MONGO_URL": settings.mongo_url,
        "REDIS_URL": settings.redis_url,
        "MQTT_URL": settings.mqtt_url,
        "MASTER_KEY": base64.b64encode(settings.master_key).decode(),
        "JWT_SECRET": _text(settings.jwt_secret),
        "HUB_PARTY": "".join(settings.hub_party),
        "ALLOW_PRIVATE_URLS": "true" if settings.allow_private_urls else None,
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return {**kept, **{PREFIX + name: value for name, value in values.items() if value is not None}}


def _text(secret: bytes) -> str:
    try:
        return secret.decode("ascii")
    except UnicodeDecodeError:
        raise CannotBeginError(f"{PREFIX}JWT_SECRET must be set for processes") from None


def children(settings: Settings, host: str, gateways: int = 1, deciders: int = 1) -> list[Child]:
    """One child for each process, not started."""
    variables = environment(settings)
    roles = [("decider", deciders), ("projector", 1), ("effects", 1), ("api", 1), ("gateway", gateways)]
    out = []
    for role, count in roles:
        for number in range(1, count + 1):
            node = f"{role}-{number}"
            words = [role, "--node", node, "--host", host, "--http-port", "0"]
            if role == "gateway":
                words += ["--ocpp-port", "0"]
            out.append(Child(role, node, words, variables))
    return out


@contextlib.asynccontextmanager
async def scaled_out(
    settings: Settings, host: str, gateways: int, deciders: int
) -> AsyncIterator[tuple[str, list[str]]]:
    """All processes, ready: the api's URL and the gateways'."""
    need_for_scale_out(settings)
    started = children(settings, host, gateways, deciders)
    try:
        await started[0].start()  # it makes the topics
        await asyncio.gather(*(child.start() for child in started[1:]))
        api = next(child for child in started if child.role == "api")
        yield api.http_url, [child.ocpp_url for child in started if child.role == "gateway"]
    finally:
        await asyncio.gather(*(child.stop() for child in reversed(started)))
