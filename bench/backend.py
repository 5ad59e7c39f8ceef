"""The system under test: its real servers and its processes, started, killed, frozen and started again by name.

What enters: which runtime, how many gateways and deciders, a folder. What leaves: addresses, process ids, a token,
and their CPU and memory. Every process ends with `stop`, also after an error, and with this process where that is
killed; only processes started here are ended.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import resource
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import httpx
import psutil

from api.auth import issue_token
from bench.bound import bound
from tests.servers import SERVERS, Kafka, Server, missing
from tests.servers.ports import PortLock, take

READY = re.compile(r"is ready: (\S+)")
OCPP = re.compile(r"charge points: (ws://[^/\s]+)")
START_SECONDS = 90.0
STOP_SECONDS = 20.0


class BackendFailedError(RuntimeError):
    """A process did not start, or ended when it should not; the message shows its last lines."""


def more_files() -> int:
    """Allow this process and its children as many open files as the machine grants; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class Child:
    """One process of ours, with ports that it keeps over restarts."""

    def __init__(self, name: str, role: str, folder: Path, environ: Mapping[str, str]) -> None:
        self.name, self.role = name, role
        self.log = folder / f"{name}.log"
        self._folder, self.environ = folder, dict(environ)
        self._http = take()
        self._ocpp: PortLock | None = take() if role in ("serve", "gateway") else None
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self.starts = 0

    @property
    def http_url(self) -> str:
        return f"http://127.0.0.1:{self._http.port}"

    @property
    def ocpp_url(self) -> str:
        if self._ocpp is None:
            raise BackendFailedError(f"{self.name} takes no charge points")
        return f"ws://127.0.0.1:{self._ocpp.port}"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise BackendFailedError(f"{self.name} was not started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process; `wait_until_ready` says when it serves."""
        command = [sys.executable, "-m", "chargesphere", self.role]
        command += ["--host", "127.0.0.1", "--http-port", str(self._http.port)]
        command += ["--data", str(self._folder / "data")] if self.role == "serve" else ["--node", self.name]
        if self._ocpp is not None:
            command += ["--ocpp-port", str(self._ocpp.port)]
        if self._output is None:
            self._output = self.log.open("ab")
        self.starts += 1
        self._process = subprocess.Popen(
            [*bound(), *command],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env=self.environ,
            start_new_session=True,
        )

    def wait_until_ready(self, seconds: float = START_SECONDS) -> None:
        """Until it has said so as often as it was started."""
        deadline = time.monotonic() + seconds
        while self.log.read_bytes().count(b" is ready: ") < self.starts:
            if not self.running:
                raise BackendFailedError(
                    f"{self.name} ended with {self._process and self._process.returncode}: {self.tail()}"
                )
            if time.monotonic() > deadline:
                raise BackendFailedError(f"{self.name} was not ready within {seconds:g} s: {self.tail()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def send(self, number: signal.Signals) -> None:
        """Another signal, e.g. SIGSTOP."""
        os.kill(self.pid, number)

    def stop(self) -> None:
        """SIGTERM; SIGKILL where that is not heard in time."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGCONT)
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_SECONDS)
        if self._output is not None:
            self._output.close()
            self._output = None

    def release(self) -> None:
        self._http.release()
        if self._ocpp is not None:
            self._ocpp.release()

    def tail(self, count: int = 12) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()[-count:]
        return "\n".join(lines) or "it said nothing"

    def metrics(self) -> dict[str, float]:
        """Its `/metrics`, by name with labels; empty where it does not answer."""
        try:
            text = httpx.get(f"{self.http_url}/metrics", timeout=5, trust_env=False).text
        except httpx.HTTPError:
            return {}
        return parse_metrics(text)


def parse_metrics(text: str) -> dict[str, float]:
    """Prometheus's text format: `name{labels}` to value."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            with contextlib.suppress(ValueError):
                found[name] = float(value)
    return found


@dataclass
class Backend:
    """`kafka` or `embedded`, Kafka on one of `tests.servers.kafka.JVMS`. Use as `with Backend(...).running():`.

    `others`: how many there are of each of the processes that need no more than one for their work.
    """

    runtime: str
    folder: Path
    gateways: int = 1
    deciders: int = 1
    jvm: str = "tests"
    others: int = 1
    servers: dict[str, Server] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    jwt_secret: bytes = field(default_factory=lambda: secrets.token_urlsafe(32).encode())
    master_key: bytes = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(32)))

    @contextlib.contextmanager
    def running(self) -> Iterator[Backend]:
        """Everything started and ready; everything ended afterwards. Raises BackendFailedError or
        ServerFailedError."""
        try:
            self._start_servers()
            self._start_children()
            yield self
        finally:
            for child in reversed(self.children.values()):
                child.stop()
                child.release()
            for server in reversed(self.servers.values()):
                with contextlib.suppress(Exception):
                    server.stop()
                server.remove()

    def _start_servers(self) -> None:
        wanted = ("kafka", "mongo", "redis", "mosquitto") if self.runtime == "kafka" else ("mosquitto",)
        lacking = missing()
        for name in wanted:
            if name in lacking and self.runtime == "kafka":
                raise BackendFailedError(f"{name} is missing: install {lacking[name]}")
            if name not in lacking:
                server = SERVERS[name](self.folder / name)
                server.launcher = bound()
                if isinstance(server, Kafka):
                    server.jvm = self.jvm
                self.servers[name] = server
                server.start()

    @property
    def environ(self) -> dict[str, str]:
        """Of every process: the settings of this system and no others."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith("CHARGESPHERE_")}
        settings = {server.setting: server.url for server in self.servers.values()}
        settings["CHARGESPHERE_JWT_SECRET"] = self.jwt_secret.decode()
        settings["CHARGESPHERE_MASTER_KEY"] = self.master_key.decode()
        settings["CHARGESPHERE_ALLOW_PRIVATE_URLS"] = "true"
        return {**plain, **settings, "PYTHONUNBUFFERED": "1"}

    def _start_children(self) -> None:
        if self.runtime == "embedded":
            self._add("serve", "serve")
        else:
            self._add("api", "api")
            for number in range(2, self.others + 1):
                self._add(f"api-{number}", "api")
            for role, count in (
                ("decider", self.deciders),
                ("projector", self.others),
                ("effects", self.others),
            ):
                for number in range(1, count + 1):
                    self._add(f"{role}-{number}", role)
            for number in range(1, self.gateways + 1):
                self._add(f"gateway-{number}", "gateway")
        # The first one creates the topics; all at once would do it several times.
        first, *others = self.children.values()
        first.start()
        first.wait_until_ready()
        for child in others:
            child.start()
        for child in others:
            child.wait_until_ready()

    def _add(self, name: str, role: str) -> Child:
        child = Child(name, role, self.folder, self.environ)
        api = self.children.get("api", child)
        child.environ["CHARGESPHERE_PUBLIC_URL"] = api.http_url
        self.children[name] = child
        return child

    def add(self, name: str, role: str) -> Child:
        """One more process, started and ready."""
        child = self._add(name, role)
        child.start()
        child.wait_until_ready()
        return child

    @property
    def api_url(self) -> str:
        return self.children["serve" if self.runtime == "embedded" else "api"].http_url

    @property
    def ocpp_urls(self) -> list[str]:
        return [child.ocpp_url for child in self.children.values() if child.role in ("serve", "gateway")]

    def token(self) -> str:
        """A platform admin's token, new."""
        return issue_token(self.jwt_secret, "platform_admin", None, datetime.now(UTC))

    def metrics(self) -> dict[str, dict[str, float]]:
        """`/metrics` of each process."""
        return {name: child.metrics() for name, child in self.children.items() if child.running}

    def processes(self) -> dict[str, int]:
        """The process ids of ours and of the servers, by name."""
        own = {name: child.pid for name, child in self.children.items() if child.running}
        return own | {name: server.pid for name, server in self.servers.items() if server.running}


class Usage:
    """CPU seconds and memory of processes between `start` and `report`."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        self._before: dict[str, float] = {}
        self._began = 0.0

    def start(self) -> None:
        self._began = time.monotonic()
        self._before = {name: _cpu(process) for name, process in self._processes.items()}

    def report(self) -> dict[str, dict[str, float]]:
        """Per cent of one core since `start`, and MiB resident now."""
        passed = time.monotonic() - self._began
        found = {}
        for name, process in self._processes.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                cpu = (_cpu(process) - self._before[name]) / passed * 100
                rss = process.memory_info().rss / 2**20
                found[name] = {"cpu_percent": round(cpu, 1), "rss_mib": round(rss, 1)}
        return found


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
