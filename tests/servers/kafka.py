"""Apache Kafka from its Maven artifacts: one KRaft node on Java 17.

What enters: Java, and Maven for the first start on a machine. What leaves: a broker that makes no topic by itself, on
a small Java machine that starts fast or, for measurements, on one as in production. The jars, a formatted, empty data
folder and an archive of the classes that a start loads are kept in `.servers/kafka` of the working copy.
"""

from __future__ import annotations

import fcntl
import functools
import re
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.servers.ports import PortLock, take
from tests.servers.process import Server, ServerFailedError, ServerUnavailableError, program

VERSION = "4.3.1"
CACHE = Path(__file__).resolve().parents[2] / ".servers" / "kafka"
JARS = CACHE / f"libs-{VERSION}"
FORMATTED = CACHE / f"formatted-{VERSION}"
CLASSES = CACHE / f"classes-{VERSION}.jsa"
FETCH_SECONDS = 600
CLUSTER_ID = "chargesphereTestsKafka"

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
log.cleaner.dedupe.buffer.size=16777216
# A broker that comes back after kill -9 waits until its former self has timed out.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
"""


# C1 only: half the time to start, and two cores are shared with what is tested.
QUICK = ("-Xmx256m", "-Xms64m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")

JVMS = {
    "tests": QUICK,
    "server": (
        *("-server", "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20"),
        *("-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent"),
    ),
}
"""Options of the Java machine: `server` are those of Kafka's own start script."""


class Kafka(Server):
    """`jvm` is one of `JVMS`."""

    name: ClassVar[str] = "kafka"
    setting: ClassVar[str] = "CHARGESPHERE_KAFKA_BOOTSTRAP"
    jvm: str = "tests"

    def __init__(self, folder: Path | None = None, note: Path | None = None) -> None:
        super().__init__(folder, note)
        self._controller: PortLock = take()

    @classmethod
    @functools.cache
    def what_is_missing(cls) -> str | None:
        java = program("java")
        if java is None or _java_version(java) < 17:
            return "Java 17 or newer (Debian: apt-get install openjdk-17-jre-headless)"
        if not JARS.exists() and program("mvn") is None:
            return "Maven, which fetches Kafka's jars once (Debian: apt-get install maven)"
        return None

    @classmethod
    def prepare(cls) -> None:
        fetch()

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def bootstrap(self) -> str:
        return self.url

    def remove(self) -> None:
        super().remove()
        self._controller.release()

    def _command(self) -> list[str]:
        fetch()
        data = self.folder / "data"
        properties = self.folder / "server.properties"
        if not data.exists():
            shutil.copytree(_formatted(), data)
            properties.write_text(
                PROPERTIES.format(port=self.port, controller_port=self._controller.port, data=data)
            )
        return [*java(*JVMS[self.jvm], *self._classes()), "kafka.Kafka", str(properties)]

    def _classes(self) -> list[str]:
        """Java starts without an archive that another Java has made."""
        return [f"-XX:SharedArchiveFile={CLASSES}"] if self.jvm == "tests" and CLASSES.exists() else []

    def _answers(self) -> bool:
        return brokers(self.port) == 1


def fetch() -> Path:
    """The folder with Kafka's jars, downloaded by Maven at the first call on a working copy, else
    ServerUnavailableError."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not JARS.exists():
            partly = CACHE / "libs.part"
            shutil.rmtree(partly, ignore_errors=True)
            pom = Path(__file__).with_name("pom.xml")
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partly}"]
            maven = [program("mvn") or "mvn", "-B", "-q", "-f", str(pom)]
            try:
                _run([*maven, *goal], "fetch Kafka's jars")
            except ServerFailedError as error:
                raise ServerUnavailableError(f"a way to Maven Central, once: {error}") from error
            partly.rename(JARS)
    return JARS


def _formatted() -> Path:
    """A formatted, empty data folder: formatting takes a second, and nothing in it depends on a port."""
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not FORMATTED.exists():
            partly = CACHE / "formatted.part"
            shutil.rmtree(partly, ignore_errors=True)
            properties = CACHE / "format.properties"
            properties.write_text(PROPERTIES.format(port=9092, controller_port=9093, data=partly))
            tool = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)]
            _run([*java(*QUICK), *tool], "format Kafka's data folder")
            partly.rename(FORMATTED)
    return FORMATTED


class _Recorded(Kafka):
    """A broker that writes down at its end which classes it had loaded."""

    def _classes(self) -> list[str]:
        return [f"-XX:ArchiveClassesAtExit={CLASSES.with_suffix('.part')}", "-Xlog:disable"]


def archive() -> None:
    """Starts and ends a broker once on a working copy, so that all later starts take half the work.

    ServerFailedError where it does not end in time: then they take the whole.
    """
    if CLASSES.exists():
        return
    with _Recorded():
        pass
    CLASSES.with_suffix(".part").rename(CLASSES)


def java(*options: str) -> list[str]:
    quiet = "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"
    return [program("java") or "java", *options, quiet, "-cp", f"{JARS}/*"]


def _java_version(java: str) -> int:
    told = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=False).stderr
    found = re.search(r'version "(\d+)', told)
    return int(found[1]) if found else 0


def _run(command: list[str], what: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerFailedError(f"could not {what}: {error}") from error
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()[-15:]
        raise ServerFailedError(f"could not {what}, exit status {done.returncode}:\n" + "\n".join(lines))


def brokers(port: int) -> int:
    """How many brokers a Metadata answer (version 4, no topics) names; OSError while nothing listens."""
    body = struct.pack("!hhih", 3, 4, 1, -1) + struct.pack("!i?", 0, False)
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(struct.pack("!i", len(body)) + body)
        size, _correlation, _throttle, count = struct.unpack("!iiii", _exactly(connection, 16))
        return int(count) if size >= 12 else 0


def _exactly(connection: socket.socket, count: int) -> bytes:
    taken = b""
    while len(taken) < count:
        part = connection.recv(count - len(taken))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        taken += part
    return taken
