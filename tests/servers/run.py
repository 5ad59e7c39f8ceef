"""The servers that several processes use together, written down in one folder.

What enters: the name of a server. What leaves: a handle on the one that runs, started by whoever asked first.
Each server has a note with its process id in the folder, so that exactly those are ended, by any process: the
one that made the folder, `make stop-servers`, or a guard that outlives a test run that was killed.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import SERVERS, Server, ServerFailedError


class Run:
    """A folder of servers: shared ones by name, and others that are only to be ended with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Kept to the end: a child whose Popen is forgotten while it runs is a ResourceWarning.
        self._started: list[Server] = []

    @classmethod
    def new(cls, folder: Path | None = None) -> Run:
        """In a new folder inside that one; None: among the machine's temporary ones."""
        return cls(Path(tempfile.mkdtemp(prefix="chargesphere-run-", dir=folder)))

    def shared(self, name: str) -> Server:
        """The run's one server of that name, started when it does not run yet.

        A start that failed is not tried again in this run: every later call raises the same ServerFailedError.
        """
        note = self.folder / f"{name}.json"
        failure = self.folder / f"{name}.failed"
        with self._locked(name):
            if failure.exists():
                raise ServerFailedError(failure.read_text())
            if not note.exists():
                server = SERVERS[name](self._new_folder(name), note)
                self._started.append(server)
                try:
                    server.start()
                except ServerFailedError as error:
                    failure.write_text(str(error))
                    raise
        server = SERVERS[name].attach(json.loads(note.read_text()))
        if not server.running:
            raise ServerFailedError(f"the shared {name} has ended; {server.last_lines()}")
        return server

    def own(self, name: str) -> Server:
        """A server, not started yet, for one test to disturb; it is ended and removed with the run at last."""
        folder = self._new_folder(name)
        return SERVERS[name](folder, folder.with_suffix(".json"))

    def stop(self) -> None:
        """Ends what the folder names, in order, and removes it; every server is tried."""
        failures: list[ServerFailedError] = []
        for note in sorted(self.folder.glob("*.json")):
            description = json.loads(note.read_text())
            try:
                SERVERS[str(description["name"])].attach(description, shared=False).stop()
            except ServerFailedError as failure:
                failures.append(failure)
        shutil.rmtree(self.folder, ignore_errors=True)
        for server in self._started:
            server.remove()
        self._started.clear()
        if failures:
            raise ExceptionGroup("servers that would not end", failures)

    def guard(self) -> subprocess.Popen[bytes]:
        """A process that stops this run's servers once the calling process is gone, however it went."""
        return subprocess.Popen(
            [sys.executable, "-P", str(Path(__file__).with_name("guard.py")), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def _new_folder(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
