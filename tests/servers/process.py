"""One child process with an address: the life that all four servers share.

What enters: a command line, a question that is answered once the server serves. What leaves: a started,
stopped, killed, frozen or restarted process. Waits are bounded; a failure names the server and shows the last
lines of its log. Nothing here knows a protocol.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Self

import psutil

from tests.servers.ports import PortLock, take

START_SECONDS = 60.0
STOP_SECONDS = 20.0


class ServerFailedError(RuntimeError):
    """A server did not start, answer or end within its time."""


class ServerUnavailableError(ServerFailedError):
    """What the server is made of could not be fetched: like a missing program, not a failed start."""


class Server(ABC):
    """A server of its own: `with Kafka() as kafka: …`, or `start()` and `stop()`.

    `folder` holds data and log; without it a temporary one is made, and removed by `remove()`. `note` is a
    file in which each start writes down the process, for those who may have to end it.
    """

    name: ClassVar[str]
    setting: ClassVar[str]
    launcher: Sequence[str] = ()
    """A command line that starts the server's own behind it, e.g. one that ties it to this process."""

    def __init__(self, folder: Path | None = None, note: Path | None = None) -> None:
        self.note = note
        self.folder = folder or Path(tempfile.mkdtemp(prefix=f"chargesphere-{self.name}-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._port = take()
        self._child: subprocess.Popen[bytes] | None = None
        self._process: psutil.Process | None = None
        self.shared = False

    # What each server says of itself.

    @classmethod
    @abstractmethod
    def what_is_missing(cls) -> str | None:
        """What to install, or None when the server can start here."""

    @classmethod  # noqa: B027 — most have nothing to fetch
    def prepare(cls) -> None:
        """Fetches what is fetched once on a working copy; ServerUnavailableError when that fails."""

    @property
    @abstractmethod
    def url(self) -> str:
        """The address as our settings take it."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Prepares the folder where that is still to do; returns the command line."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server serves now; may raise OSError meanwhile."""

    # What all can do.

    @property
    def port(self) -> int:
        return self._port.port

    @property
    def pid(self) -> int:
        """The process id; ServerFailedError when it does not run."""
        if self._process is None:
            raise ServerFailedError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and not _gone(self._process)

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> Self:
        """Returns once the server answers; the port and the data of an earlier start are kept."""
        self._refuse_if_shared("start")
        if self.running:
            raise ServerFailedError(f"{self.name} runs already, pid {self.pid}")
        command = [*self.launcher, *self._command()]
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=self._port.inherited,
            )
        self._process = psutil.Process(self._child.pid)
        if self.note is not None:
            _write(self.note, self.describe())
        try:
            self.wait_until_it_answers()
        except ServerFailedError:
            self._end(signal.SIGKILL)
            raise
        return self

    def wait_until_it_answers(self, seconds: float = START_SECONDS) -> None:
        self.wait_for(self._answers, f"answer on 127.0.0.1:{self.port}", seconds)

    def wait_for(self, fact: Callable[[], bool], what: str, seconds: float) -> None:
        """Asks until `fact` holds; ServerFailedError at once when the process ends, else after `seconds`."""
        deadline = time.monotonic() + seconds
        while True:
            with contextlib.suppress(OSError):
                if fact():
                    return
            if not self.running:
                raise ServerFailedError(f"{self.name} ended before it could {what}; {self.last_lines()}")
            if time.monotonic() > deadline:
                raise ServerFailedError(
                    f"{self.name} did not {what} within {seconds:g} s; {self.last_lines()}"
                )
            time.sleep(0.02)

    def last_lines(self, count: int = 15) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        lines = text.strip().splitlines()[-count:]
        return "the last lines of its log:\n" + "\n".join(lines) if lines else "its log is empty"

    def stop(self) -> None:
        """Ends the server in order (SIGTERM); the data stay."""
        self._refuse_if_shared("stop")
        if self.running:
            self.resume()
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Ends the server with SIGKILL; the data stay as they are."""
        self._refuse_if_shared("kill")
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """`stop()` if it runs, then `start()`: same port, same data."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freezes the process with SIGSTOP: connections stay open, nothing answers."""
        self._refuse_if_shared("pause")
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a frozen process go on (SIGCONT)."""
        self._refuse_if_shared("resume")
        os.kill(self.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Kills what still runs, removes the folder and gives the port back."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.note is not None:
            self.note.unlink(missing_ok=True)
        self._port.release()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.remove()

    # Handing a running server over to other processes.

    def describe(self) -> dict[str, object]:
        """What `attach` needs in another process."""
        process = psutil.Process(self.pid)
        return {
            "name": self.name,
            "pid": process.pid,
            "born": process.create_time(),
            "port": self.port,
            "folder": str(self.folder),
        }

    @classmethod
    def attach(cls, description: dict[str, object], *, shared: bool = True) -> Self:
        """A handle on a server that another process started; a shared one refuses to be disturbed."""
        server = cls.__new__(cls)
        server.folder = Path(str(description["folder"]))
        server.note = None
        server._port = PortLock(int(str(description["port"])))
        server._child = None
        server._process = _same_process(int(str(description["pid"])), float(str(description["born"])))
        server.shared = shared
        return server

    def _refuse_if_shared(self, what: str) -> None:
        if self.shared:
            raise ServerFailedError(
                f"this {self.name} is shared by the whole test run and may not {what}: ask for own_{self.name}"
            )

    def _end(self, how: signal.Signals) -> None:
        process, child = self._process, self._child
        self._process = self._child = None
        if process is None:
            return
        if not _gone(process):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(how)
        if not _wait_gone(process, child, STOP_SECONDS):
            lines = self.last_lines()
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
            _wait_gone(process, child, STOP_SECONDS)
            raise ServerFailedError(
                f"{self.name} did not end within {STOP_SECONDS:g} s of {how.name} and was killed; {lines}"
            )


def _gone(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _wait_gone(process: psutil.Process, child: subprocess.Popen[bytes] | None, seconds: float) -> bool:
    if child is not None:
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True
    deadline = time.monotonic() + seconds
    while not _gone(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _same_process(pid: int, born: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        return process if abs(process.create_time() - born) < 1 else None
    except psutil.NoSuchProcess:
        return None


def _write(note: Path, description: dict[str, object]) -> None:
    partly = note.with_suffix(f".{os.getpid()}")
    partly.write_text(json.dumps(description))
    partly.rename(note)


def program(name: str) -> str | None:
    """The path of a program; daemons' folders are searched also where PATH leaves them out."""
    wider = os.pathsep.join(
        [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"]
    )
    return shutil.which(name, path=wider)
