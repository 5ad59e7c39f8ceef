"""Free loopback ports that stay ours while a server is down.

What enters: nothing. What leaves: a port that nobody listens on, with a lock that keeps it. Ports lie below
the kernel's ephemeral range, so that no outgoing connection takes one between a kill and the next start, and
each is locked by a file, so that two test processes never choose the same one.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
from pathlib import Path
from typing import IO

FIRST, LAST = 20_000, 32_000
LOCKS = Path("/tmp")  # noqa: S108 — the same for all runs of a machine, wherever each has its files

_chance = random.Random()
"""Not the module's own: servers start in threads beside tests in which Hypothesis watches that one."""


class PortLock:
    """A port and the open file whose lock keeps it; the lock is shared by children that inherit the file."""

    def __init__(self, port: int, file: IO[bytes] | None = None) -> None:
        self.port = port
        self._file = file

    @property
    def inherited(self) -> tuple[int, ...]:
        """File descriptors for `Popen(pass_fds=…)`: the lock then lasts as long as the server does."""
        return () if self._file is None else (self._file.fileno(),)

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def take() -> PortLock:
    """A free port; RuntimeError when none of 500 tries was free."""
    folder = LOCKS / f"chargesphere-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for _ in range(500):
        port = _chance.randrange(FIRST, LAST)
        file = (folder / str(port)).open("wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_free(port):
                return PortLock(port, file)
        except BlockingIOError:
            pass
        file.close()
    raise RuntimeError(f"no free port between {FIRST} and {LAST} on 127.0.0.1")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
