"""The command line in processes of their own: one command to its end, or `serve` until it is told to end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

from chargesphere.settings import PREFIX

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}


def run(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environ = ENVIRON | {PREFIX + name: value for name, value in settings.items()}
    command = [sys.executable, "-m", "chargesphere", *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=100, check=False)


def cannot_begin(done: subprocess.CompletedProcess[str]) -> str:
    """The one line."""
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("chargesphere: ")
    return line.removeprefix("chargesphere: ")


class Serving:
    """`chargesphere serve` on free ports."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        environ = ENVIRON | {PREFIX + name: value for name, value in settings.items()}
        words = ["serve", "--http-port", "0", "--ocpp-port", "0", "--data", str(data)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "chargesphere", *words], env=environ, stdout=subprocess.PIPE, text=True
        )
        # A process that says nothing must not hold the test for ever.
        alarm = threading.Timer(100, self.process.kill)
        alarm.start()
        assert self.process.stdout is not None
        self.lines = [self.process.stdout.readline().strip() for _ in range(2)]
        alarm.cancel()
        self.url = self.lines[1].rpartition(" ")[2]

    def wait_until_ready(self) -> None:
        """Its partitions are folded a moment after it listens."""
        deadline = time.monotonic() + 60
        while httpx.get(self.url + "/ready").status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.05)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        status = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status
