"""`chargesphere worker`: decider, projector and effects as children of one process, started again when one ends."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time

from chargesphere.settings import need_for_scale_out, read_settings

ROLES = ("decider", "projector", "effects")


def run_worker(options: argparse.Namespace) -> int:
    """Until SIGTERM or SIGINT; ports count up from `--http-port`, 0 stays 0."""
    need_for_scale_out(read_settings())
    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    children: dict[str, subprocess.Popen[bytes]] = {}
    started: dict[str, float] = {}
    try:
        while not stopping:
            for number, role in enumerate(ROLES):
                child = children.get(role)
                if child is not None and child.poll() is None:
                    continue
                if child is not None:
                    print(f"{role} ended with {child.returncode}, started again", file=sys.stderr)
                    if child.returncode == 2 and time.monotonic() - started[role] < 5:
                        return 2
                port = options.http_port + number if options.http_port else 0
                words = [
                    role,
                    "--node",
                    f"{options.node}-{role}",
                    "--host",
                    options.host,
                    "--http-port",
                    str(port),
                ]
                children[role] = subprocess.Popen([sys.executable, "-m", "chargesphere", *words])  # noqa: S603
                started[role] = time.monotonic()
            time.sleep(0.5)
    finally:
        for child in children.values():
            if child.poll() is None:
                child.terminate()
        for child in children.values():
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
    return 0
