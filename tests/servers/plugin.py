"""The servers as pytest fixtures, and the rule that in CI no test of a real server is skipped.

What enters: tests that ask for `kafka`, `mongo`, `redis_server` or `mosquitto`. What leaves: one server of each
kind for the whole run, over all xdist workers, started beside the first tests and stopped with the run; a marker on
each such test; the longest tests first, then unit tests. `own_kafka` and the like are servers that a test may kill.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import re
import shutil
import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from tests.servers import SERVERS, Kafka, Mongo, Mosquitto, Redis, Server
from tests.servers.process import ServerFailedError, ServerUnavailableError
from tests.servers.run import Run

RUN_VARIABLE = "TEST_RUN_FOLDER"
MEMORY = Path("/dev/shm")  # noqa: S108 — its folders are mkdtemp's
MEMORY_BYTES = 6 * 2**30

# fixture → marker; the same marker for the server that a test has for itself
MARKERS = {
    "kafka": "kafka",
    "mongo": "mongo",
    "redis_server": "redis",
    "mosquitto": "mqtt",
    "own_kafka": "kafka",
    "own_mongo": "mongo",
    "own_redis": "redis",
    "own_mosquitto": "mqtt",
}
SERVER_MARKERS = frozenset(MARKERS.values())
LONG_MARKERS = ("kill", "demo")
SHARED = {"kafka": "kafka", "mongo": "mongo", "redis_server": "redis", "mosquitto": "mosquitto"}
"""Fixture → server of the run."""

_run_key = pytest.StashKey[Run]()
_guard_key = pytest.StashKey[subprocess.Popen[bytes]]()
_early_key = pytest.StashKey[list[threading.Thread]]()


def in_ci() -> bool:
    return os.environ.get("CI", "").lower() in {"true", "1"}


# The run: made by the process that started pytest, found by its xdist workers through the environment.


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.stash[_run_key] = Run(Path(os.environ[RUN_VARIABLE]))
        return
    folder = memory()
    run = Run.new(folder)
    if folder is not None:
        os.environ["TMPDIR"] = tempfile.tempdir = str(run.folder)
    os.environ[RUN_VARIABLE] = str(run.folder)
    config.stash[_run_key] = run
    config.stash[_guard_key] = run.guard()


def memory() -> Path | None:
    """Where a test's files cost no waiting for a disk; None where there is little of it, or TMPDIR says otherwise.

    What a killed process has written is there all the same; power losses are simulated (tests/simulation/disk).
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return None
    free = min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available)
    return MEMORY if free >= MEMORY_BYTES else None


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    guard = config.stash.get(_guard_key, None)
    if guard is None:
        return
    try:
        config.stash[_run_key].stop()
    finally:
        os.environ.pop(RUN_VARIABLE, None)
        if os.environ.get("TMPDIR") == str(config.stash[_run_key].folder):
            del os.environ["TMPDIR"]
            tempfile.tempdir = None
        guard.communicate(timeout=60)


# The tests: markers, order, and no skips in CI.


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in MARKERS:
                item.add_marker(MARKERS[fixture])
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> tuple[int, float]:
    """The longest begin first, so that at the end all that workers may wait for one another is a short one."""
    told = item.get_closest_marker("long")
    if told is not None:
        return 0, -float(told.args[0])
    if any(item.get_closest_marker(name) for name in LONG_MARKERS):
        return 1, 0.0
    return (3 if _server_markers(item) else 2), 0.0


def pytest_collection_finish(session: pytest.Session) -> None:
    """Starts what the tests will ask for, all at once, beside the first of them.

    Whoever asks meanwhile waits for the start that is under way, and gets its failure.
    """
    config = session.config
    if getattr(config, "workerinput", {}).get("workerid", "gw0") != "gw0" or config.option.collectonly:
        return
    asked = {fixture for item in session.items for fixture in getattr(item, "fixturenames", ())}
    config.stash[_early_key] = [
        threading.Thread(target=_start_early, args=(config.stash[_run_key], name))
        for fixture, name in SHARED.items()
        if fixture in asked
    ]
    for thread in config.stash[_early_key]:
        thread.start()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What is being started is there, to be stopped with the run."""
    for thread in session.config.stash.get(_early_key, []):
        thread.join()


def _start_early(run: Run, name: str) -> None:
    with contextlib.suppress(ServerFailedError):
        if _missing(name) is None:
            run.shared(name)


def _server_markers(item: pytest.Item) -> list[str]:
    return sorted({marker.name for marker in item.iter_markers() if marker.name in SERVER_MARKERS})


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    markers = _server_markers(item)
    if report.skipped and markers and in_ci() and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = (
            f"skipped, but CI=true and it is a test of a real server ({', '.join(markers)}): {why}"
        )
    return report


# The fixtures.


@pytest.fixture(autouse=True)
def _leaks_are_seen_where_they_are_made(request: pytest.FixtureRequest) -> Iterator[None]:
    """A client that nobody closed warns when it is collected: at the end of its own test, not during a later one.

    What was there before the test is not looked at, which took seconds after some thousand tests.
    """
    if request.node.get_closest_marker("kafka") is None:
        yield
        return
    gc.freeze()
    yield
    gc.collect()
    gc.unfreeze()


def need(name: str) -> None:
    """Skips the test, with what to install, where this machine lacks the server; a failure in CI."""
    what = _missing(name)
    if what is not None:
        pytest.skip(f"{name} is missing: install {what}")


@functools.cache
def _missing(name: str) -> str | None:
    what = SERVERS[name].what_is_missing()
    if what is None:
        try:
            SERVERS[name].prepare()
        except ServerUnavailableError as error:
            return str(error)
    return what


def _shared(config: pytest.Config, name: str) -> Server:
    need(name)
    return config.stash[_run_key].shared(name)


@contextlib.contextmanager
def _own(config: pytest.Config, name: str) -> Iterator[Server]:
    need(name)
    with config.stash[_run_key].own(name) as server:
        yield server


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Kafka:
    """The run's broker; take topic and group names from `unique`."""
    return cast(Kafka, _shared(pytestconfig, "kafka"))


@pytest.fixture(scope="session")
def mongo(pytestconfig: pytest.Config) -> Mongo:
    """The run's mongod; take database names from `unique`, and drop none."""
    return cast(Mongo, _shared(pytestconfig, "mongo"))


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Redis:
    """The run's Redis; take key prefixes from `unique`."""
    return cast(Redis, _shared(pytestconfig, "redis"))


@pytest.fixture(scope="session")
def mosquitto(pytestconfig: pytest.Config) -> Mosquitto:
    """The run's broker with the users `backend`, `demo` and `acme`; charge point ids from `unique`."""
    return cast(Mosquitto, _shared(pytestconfig, "mosquitto"))


@pytest.fixture
def own_kafka(pytestconfig: pytest.Config) -> Iterator[Kafka]:
    """A broker for this test alone, to kill, freeze and restart."""
    with _own(pytestconfig, "kafka") as server:
        yield cast(Kafka, server)


@pytest.fixture
def own_mongo(pytestconfig: pytest.Config) -> Iterator[Mongo]:
    """A mongod for this test alone, to kill, freeze and restart."""
    with _own(pytestconfig, "mongo") as server:
        yield cast(Mongo, server)


@pytest.fixture
def own_redis(pytestconfig: pytest.Config) -> Iterator[Redis]:
    """A Redis for this test alone, to kill, freeze and restart."""
    with _own(pytestconfig, "redis") as server:
        yield cast(Redis, server)


@pytest.fixture
def own_mosquitto(pytestconfig: pytest.Config) -> Iterator[Mosquitto]:
    """A mosquitto for this test alone, to kill, freeze and restart."""
    with _own(pytestconfig, "mosquitto") as server:
        yield cast(Mosquitto, server)


@pytest.fixture
def unique(request: pytest.FixtureRequest) -> Callable[[str], str]:
    """`unique("orders")` is a new name that tells the test: fit for topics, groups, databases and tenants."""
    test = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")[:24].strip("-")

    def name(what: str = "x") -> str:
        return f"{what}-{test}-{uuid.uuid4().hex[:8]}"

    return name
