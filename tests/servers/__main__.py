"""`python -m tests.servers start|stop|fetch`: the real servers by hand, for tests, bench and curiosity.

`start` writes `.servers/env`, to be read by a shell (`. .servers/env`); `stop` ends exactly what it started;
`fetch` downloads Kafka's jars ahead of time, and makes its starts faster.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.servers import SERVERS, ServerFailedError, missing
from tests.servers.kafka import JARS, Kafka, archive, fetch
from tests.servers.run import Run

HOME = Path(__file__).resolve().parents[2] / ".servers"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


def start() -> int:
    lacking = missing()
    for name, what in lacking.items():
        say(f"{name}: missing, install {what}")
    run = Run(HOME / "run")
    lines = []
    for name, kind in SERVERS.items():
        if name not in lacking:
            server = run.shared(name)
            lines.append(f"export {kind.setting}='{server.url}'\n")
            say(f"{name}: {server.url} (pid {server.pid}, log {server.log})")
    (HOME / "env").write_text("".join(lines))
    say(f"settings: . {HOME / 'env'}")
    return 1 if lacking.keys() == SERVERS.keys() else 0


def stop() -> int:
    Run(HOME / "run").stop()
    (HOME / "env").unlink(missing_ok=True)
    return 0


def fetch_jars() -> int:
    lacking = Kafka.what_is_missing()
    if lacking is not None:
        say(f"kafka: missing, install {lacking}")
        return 1
    if not JARS.exists():
        say(f"kafka: {fetch()}")
    archive()
    return 0


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["start"]:
                return start()
            case ["stop"]:
                return stop()
            case ["fetch"]:
                return fetch_jars()
    except ServerFailedError as failure:
        say(str(failure))
        return 1
    say("usage: python -m tests.servers start|stop|fetch")
    return 2


sys.exit(main(sys.argv[1:]))
