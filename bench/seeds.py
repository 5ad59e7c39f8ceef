"""`chargesphere bench --seeds N`: worlds of the simulation that nobody has run before, on all processors.

What leaves: how many showed something wrong, and how many ran in a second. The seeds are printed, so that each can be
run again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", type=int, metavar="N", help="run so many worlds of the simulation")
    parser.add_argument(
        "--first", type=int, default=int(time.time()) * 1_000, help="the first seed (default: a new one)"
    )


def run(options: argparse.Namespace) -> int:
    """0 where nothing was wrong in any of them."""
    seeds = f"{options.first}:{options.first + options.seeds}"
    command = [sys.executable, "-m", "tests.simulation", "--seeds", seeds]
    return subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "0"}, check=False).returncode
