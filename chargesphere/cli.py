"""The command line: every command, its options and its exit status. What they do stands in their own modules.

Exit status: 0 done, 1 it ran and found or did something wrong, 2 it could not begin (a wrong option, setting or
port; one line says what and how to go on).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from chargesphere import __version__
from chargesphere.errors import CannotBeginError
from chargesphere.lines import print_lines
from chargesphere.settings import SettingsError
from chargesphere.tuning import run
from streams.log import LogError

PROCESSES = ("gateway", "api", "decider", "projector", "effects")


def build_parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    parser = argparse.ArgumentParser(
        prog="chargesphere", description="OCPI roaming hub and OCPP central system on one event log."
    )
    parser.add_argument("--version", action="version", version=f"chargesphere {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="everything in one process, no other server needed")
    _listening(serve)
    serve.add_argument("--ocpp-port", type=_port, default=9000, help="0 = a free one (default 9000)")
    serve.add_argument(
        "--data", type=Path, default=Path("data"), help="folder of the log and the read models"
    )

    demo = commands.add_parser("demo", help="serve, with a small living network")
    _listening(demo, 0)
    demo.add_argument("--ocpp-port", type=_port, default=0)
    demo.add_argument("--data", type=Path, help="default: a temporary folder")
    demo.add_argument(
        "--for", dest="seconds", type=float, help="end after so many seconds (26 or more), with a table"
    )
    demo.add_argument("--gateways", type=int, default=1, help="processes, with the Kafka settings given")
    demo.add_argument("--deciders", type=int, default=1, help="processes, with the Kafka settings given")

    for name in (*PROCESSES, "worker"):
        process = commands.add_parser(name, help=_PROCESS_HELP[name])
        process.add_argument("--node", required=True, help="this process's name, kept over restarts")
        _listening(process)
        if name == "gateway":
            process.add_argument("--ocpp-port", type=_port, default=9000)

    commands.add_parser("topics", help="create the topics that are missing, verify the rest")
    check = commands.add_parser("check", help="try the settings and what they name, read the log through")
    check.add_argument("--data", type=Path, default=Path("data"))

    token = commands.add_parser("token", help="print a token for /api/v1")
    token.add_argument(
        "--role", required=True, choices=("platform_admin", "tenant_admin", "operator", "viewer")
    )
    token.add_argument("--tenant")
    token.add_argument(
        "--subject", default="", help="who it is for, as the audit shows it (default: the role)"
    )
    token.add_argument("--data", type=Path, default=Path("data"))

    keys = commands.add_parser("keys", help="API keys, through a running `serve` or `api`")
    of_keys = keys.add_subparsers(dest="action", required=True)
    create = of_keys.add_parser("create", help="make one; its secret is printed this once")
    create.add_argument("--name", required=True, help="which service it is for")
    create.add_argument(
        "--role", required=True, choices=("platform_admin", "tenant_admin", "operator", "viewer")
    )
    create.add_argument("--scope", action="append", default=[], help="such as cdrs:read; again for more")
    create.add_argument("--address", action="append", default=[], help="or network; again for more")
    create.add_argument("--expires", metavar="TIME", help="ISO 8601 with its zone; without it: never")
    revoke = of_keys.add_parser("revoke", help="for good, at every process within 10 s")
    revoke.add_argument("id")
    for action in (create, of_keys.add_parser("list", help="all, without their secrets"), revoke):
        action.add_argument("--tenant", help="whose; without it the platform's own")
        action.add_argument(
            "--url", help="of a running process (default PUBLIC_URL, or http://127.0.0.1:8080)"
        )
        action.add_argument("--data", type=Path, default=Path("data"))

    replay = commands.add_parser("replay", help="print events from the log, one JSON line each")
    _slice(replay)
    events = commands.add_parser(
        "events", help="search events; --story ID, --aggregate ID, --at TIME for its state"
    )
    _slice(events)
    events.add_argument("--story", metavar="ID", help="everything with this correlation or session id")
    events.add_argument("--at", metavar="TIME", help="with --aggregate: its state at that time")

    projections = commands.add_parser("projections", help="read models")
    actions = projections.add_subparsers(dest="action", required=True)
    rebuild = actions.add_parser(
        "rebuild", help="build every read model from the log, while those before are read"
    )
    rebuild.add_argument("--data", type=Path, default=Path("data"))

    letters = commands.add_parser("dead-letters", help="what a projection could not take in")
    letters.add_argument(
        "--retry", metavar="ID", help="make its document anew from the log, and take it away"
    )
    letters.add_argument("--data", type=Path, default=Path("data"))
    deliveries = commands.add_parser("deliveries", help="what is on its way to partners")
    deliveries.add_argument("--state", choices=("waiting", "in_flight", "delivered", "failed", "behind"))
    deliveries.add_argument("--data", type=Path, default=Path("data"))

    erase = commands.add_parser("erase", help="take away what identifies the person behind a uid, for good")
    erase.add_argument("uid")
    erase.add_argument("--tenant", required=True)
    erase.add_argument("--data", type=Path, default=Path("data"))

    backup = commands.add_parser("backup", help="copy what cannot be built again")
    backup.add_argument("folder", type=Path, help="is made")
    backup.add_argument("--data", type=Path, default=Path("data"))
    restore = commands.add_parser("restore", help="bring a backup into empty topics of Kafka")
    restore.add_argument("folder", type=Path)

    commands.add_parser("bench", help="measure the whole system (see --help of bench)", add_help=False)
    return parser


_PROCESS_HELP = {
    "gateway": "hold charge points' connections",
    "api": "serve OCPI and /api/v1",
    "decider": "decide commands, follow processes",
    "projector": "keep the read models (Faust and the sweeper)",
    "effects": "deliver to partners, publish to MQTT and the public topics",
    "worker": "decider, projector and effects as children",
}


def _listening(parser: argparse.ArgumentParser, http: int = 8080) -> None:
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--http-port", type=_port, default=http, help=f"0 = a free one (default {http})")


def _slice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument(
        "--area", help="charge-point, session, token, party, remote-command, delivery, job or key"
    )
    parser.add_argument("--aggregate", metavar="ID", help="only of this aggregate, e.g. 'session|…'")
    parser.add_argument("--type", metavar="NAME", help="only of this type, e.g. session.ended.v1")
    parser.add_argument("--tenant")
    parser.add_argument("--since", metavar="TIME", help="received at or after, ISO 8601")
    parser.add_argument("--until", metavar="TIME", help="received before, ISO 8601")
    parser.add_argument("--limit", type=int, default=0, help="0 = all")
    parser.add_argument(
        "--addresses", action="store_true", help="with our nodes and the addresses of charge points"
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is not a port")
    return port


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["bench"]:
        return _bench(arguments[1:])
    options = build_parser().parse_args(arguments)
    print_lines()
    try:
        return _run(options)
    except (SettingsError, LogError, CannotBeginError) as error:
        print(f"chargesphere: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What reads our output has seen enough; nothing may be flushed to it at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(options: argparse.Namespace) -> int:
    """Import what the command needs, and run it."""
    if options.command == "serve" or options.command in PROCESSES:
        from chargesphere.process import run_process

        return run(run_process(options))
    if options.command == "worker":
        from chargesphere.worker import run_worker

        return run_worker(options)
    if options.command == "demo":
        from chargesphere.demo.run import run_demo

        return run_demo(options)
    from chargesphere import operations

    return asyncio.run(operations.run(options))


def _bench(arguments: Sequence[str]) -> int:
    """The bench starts real servers with the tests' own means, so it runs in a checkout only."""
    import bench

    sys.path.insert(0, str(Path(bench.__file__).parents[1]))
    try:
        from bench.main import main as bench_main
    except ModuleNotFoundError as error:
        print(f"chargesphere: the bench runs in a checkout with its tests ({error})", file=sys.stderr)
        return 2
    return bench_main(arguments)
