"""`chargesphere bench`: the load run; its other modes do what their modules say."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from bench import closed, hostile, idle, kills, seeds, system
from bench.backend import BackendFailedError
from tests.servers import ServerFailedError


def build_parser() -> argparse.ArgumentParser:
    """Every option."""
    parser = argparse.ArgumentParser(prog="chargesphere bench", description="Measure the whole system.")
    system.add_options(parser)
    closed.add_options(parser)
    hostile.add_options(parser)
    idle.add_options(parser)
    kills.add_options(parser)
    seeds.add_options(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run what is asked for; the exit status is 0 where everything that was measured went well."""
    options = build_parser().parse_args(argv)
    try:
        if options.seeds:
            return seeds.run(options)
        if options.kills:
            return kills.run(options)
        if options.hostile:
            return hostile.run(options)
        if options.closed:
            return closed.run(options)
        return idle.run(options) if options.idle else system.run(options)
    except (BackendFailedError, ServerFailedError, TimeoutError) as failure:
        print(f"chargesphere bench: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
