"""A whole test run shares its servers, leaves none behind, and in CI skips none of their tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.servers.plugin import MEMORY, RUN_VARIABLE, memory, need

ROOT = Path(__file__).resolve().parents[2]

LACKING = """
from tests.servers import Redis
Redis.what_is_missing = classmethod(lambda cls: "the kettle")
"""

UNFETCHED = """
from tests.servers import Redis
from tests.servers.process import ServerUnavailableError

def prepare(cls):
    raise ServerUnavailableError("a way out")

Redis.prepare = classmethod(prepare)
"""

TELLING = """
import json, os, pathlib, pytest

@pytest.mark.parametrize("number", range(4))
def test_tell(redis_server, number):
    seen = {"pid": redis_server.pid, "worker": os.environ["PYTEST_XDIST_WORKER"], "folder": str(redis_server.folder)}
    pathlib.Path(f"seen-{number}.json").write_text(json.dumps(seen))
"""

WAITING = """
import json, pathlib, time

def test_wait(redis_server, own_redis):
    pids = [redis_server.pid, own_redis.pid]
    partly = pathlib.Path("pids.part")
    partly.write_text(json.dumps({"pids": pids, "folder": str(redis_server.folder.parent)}))
    partly.rename("pids.json")
    time.sleep(100)
"""

ORDERED = """
import pytest

def test_a_real_server(redis_server): pass
def test_b_rule(): pass
@pytest.mark.long(20)
def test_c_long(): pass
@pytest.mark.long(90)
def test_d_longest(redis_server): pass
"""

EARLY = """
import os, pathlib, time

def test_a_rule():
    note = pathlib.Path(os.environ["TEST_RUN_FOLDER"], "redis.json")
    for _ in range(2000):
        if note.exists():
            return
        time.sleep(0.02)
    raise AssertionError("nobody has started it")

def test_b_real_server(redis_server): pass
"""


LEAKING = """
import pytest, warnings

class Client:
    def __init__(self): self.itself = self
    def __del__(self): warnings.warn("unclosed", ResourceWarning)

@pytest.mark.kafka
def test_a_leaks(): Client()

@pytest.mark.kafka
def test_b_does_not(): pass
"""

PLACED = """
import pathlib

def test_it(tmp_path): pathlib.Path("folder").write_text(str(tmp_path))
"""


class Inner:
    """A test run of its own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        markers = ["kafka", "mongo", "redis", "mqtt", "kill", "demo", "long"]
        (folder / "pytest.ini").write_text(
            "[pytest]\nmarkers =\n" + "".join(f"  {name}\n" for name in markers)
        )

    def start(self, *arguments: str, ci: bool) -> subprocess.Popen[str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        environment.pop(RUN_VARIABLE, None)
        environment |= {"CI": "true" if ci else "", "PYTHONPATH": str(ROOT)}
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", "-rs", "-p", "tests.servers.plugin", *arguments],
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, *arguments: str, ci: bool = False) -> tuple[int, str]:
        with self.start(*arguments, ci=ci) as process:
            printed, _ = process.communicate(timeout=90)
        return process.returncode, printed


@pytest.fixture
def inner(tmp_path: Path) -> Inner:
    return Inner(tmp_path)


def test_a_missing_server_skips_its_tests_with_one_line_that_says_what_to_install(inner: Inner) -> None:
    (inner.folder / "conftest.py").write_text(LACKING)
    (inner.folder / "test_it.py").write_text("def test_it(redis_server): pass\n")
    status, printed = inner.run()
    assert "redis is missing: install the kettle" in printed
    assert "1 skipped" in printed
    assert status == 0


def test_a_server_whose_parts_cannot_be_fetched_counts_as_missing(inner: Inner) -> None:
    (inner.folder / "conftest.py").write_text(UNFETCHED)
    (inner.folder / "test_it.py").write_text(
        "def test_it(redis_server): pass\ndef test_two(own_redis): pass\n"
    )
    status, printed = inner.run()
    assert "redis is missing: install a way out" in printed
    assert "2 skipped" in printed
    assert status == 0


def test_in_ci_a_missing_server_fails_its_tests(inner: Inner) -> None:
    (inner.folder / "conftest.py").write_text(LACKING)
    (inner.folder / "test_it.py").write_text("def test_it(redis_server): pass\n")
    status, printed = inner.run(ci=True)
    assert "skipped, but CI=true" in printed
    assert "install the kettle" in printed
    assert status == 1


@pytest.mark.parametrize(
    "skip", ["@pytest.mark.skip(reason='later')\ndef test_it(): pass", "def test_it(): pytest.skip('later')"]
)
def test_in_ci_no_kind_of_skip_hides_a_test_marked_for_a_server(inner: Inner, skip: str) -> None:
    (inner.folder / "test_it.py").write_text(f"import pytest\npytestmark = pytest.mark.mqtt\n{skip}\n")
    assert inner.run()[0] == 0
    status, printed = inner.run(ci=True)
    assert "CI=true and it is a test of a real server (mqtt): " in printed
    assert "later" in printed
    assert status == 1


def test_in_ci_other_tests_may_still_be_skipped(inner: Inner) -> None:
    (inner.folder / "test_it.py").write_text("import pytest\ndef test_it(): pytest.skip('elsewhere')\n")
    status, printed = inner.run(ci=True)
    assert "1 skipped" in printed
    assert status == 0


@pytest.mark.redis
def test_all_workers_share_one_server_that_ends_with_the_run(inner: Inner) -> None:
    need("redis")
    (inner.folder / "test_it.py").write_text(TELLING)
    status, printed = inner.run("-n", "2")
    assert status == 0, printed
    seen = [json.loads(file.read_text()) for file in inner.folder.glob("seen-*.json")]
    assert len(seen) == 4
    assert {note["worker"] for note in seen} == {"gw0", "gw1"}
    assert len({note["pid"] for note in seen}) == 1
    assert not _lives(seen[0]["pid"])
    assert not Path(seen[0]["folder"]).parent.exists()


@pytest.mark.redis
@pytest.mark.kill
def test_a_killed_run_leaves_no_server_and_no_folder(inner: Inner) -> None:
    need("redis")
    (inner.folder / "test_it.py").write_text(WAITING)
    with inner.start(ci=False) as process:
        told = inner.folder / "pids.json"
        _until(told.exists, "the inner run has started its servers")
        note = json.loads(told.read_text())
        assert all(_lives(pid) for pid in note["pids"])
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=30)
    _until(lambda: not any(_lives(pid) for pid in note["pids"]), "the guard has ended the servers")
    _until(lambda: not Path(note["folder"]).exists(), "the guard has removed the folder")


def test_the_files_of_a_run_stand_where_TMPDIR_says(
    inner: Inner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (inner.folder / "test_it.py").write_text(PLACED)
    assert inner.run()[0] == 0
    assert Path((inner.folder / "folder").read_text()).is_relative_to(tmp_path)


def test_the_files_of_a_run_stand_in_memory_and_go_with_it(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TMPDIR", raising=False)
    if memory() is None:
        pytest.skip("this machine has too little of it")
    (inner.folder / "test_it.py").write_text(PLACED)
    assert inner.run()[0] == 0
    folder = Path((inner.folder / "folder").read_text())
    assert folder.is_relative_to(MEMORY)
    assert not (MEMORY / folder.relative_to(MEMORY).parts[0]).exists()


@pytest.mark.redis
def test_the_longest_come_first_and_then_unit_tests(inner: Inner) -> None:
    need("redis")
    (inner.folder / "test_it.py").write_text(ORDERED)
    status, printed = inner.run("-v")
    assert status == 0, printed
    order = ("test_d_longest", "test_c_long", "test_b_rule", "test_a_real_server")
    places = [printed.index(f"{name} PASSED") for name in order]
    assert places == sorted(places)


@pytest.mark.redis
def test_a_server_that_will_be_asked_for_starts_beside_the_tests_before(inner: Inner) -> None:
    need("redis")
    (inner.folder / "test_it.py").write_text(EARLY)
    status, printed = inner.run("-n", "2", "--dist", "loadfile")
    assert status == 0, printed


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _until(fact: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 40
    while not fact():
        assert time.monotonic() < deadline, f"waited 40 s until {what}"
        time.sleep(0.02)


def test_a_leak_is_seen_at_the_test_that_made_it(inner: Inner) -> None:
    (inner.folder / "test_it.py").write_text(LEAKING)
    status, printed = inner.run(
        "-W", "error::ResourceWarning", "-W", "error::pytest.PytestUnraisableExceptionWarning"
    )
    assert "ERROR at teardown of test_a_leaks" in printed
    assert "2 passed, 1 error" in printed
    assert status == 1
