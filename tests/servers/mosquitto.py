"""mosquitto with one user per tenant and the access list that the product prescribes.

What enters: the machine's mosquitto. What leaves: a broker that knows `demo`, `acme` and `backend`; a tenant
reads its own events, status and responses and writes its own commands, the backend may do everything.
Retained messages and durable sessions last over `stop()`; over `kill()` only what was saved before.
"""

from __future__ import annotations

import functools
import getpass
import shutil
import socket
import subprocess
from pathlib import Path
from typing import ClassVar

from tests.servers.process import Server, ServerFailedError, program

PASSWORDS = {"backend": "backend-secret", "demo": "demo-secret", "acme": "acme-secret"}

# The very list that is deployed.
ACCESS = Path(__file__).resolve().parents[2] / "deploy" / "mosquitto" / "access"

CONFIGURATION = """\
per_listener_settings false
listener {port} 127.0.0.1
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/access
persistence true
persistence_location {folder}/data/
max_inflight_messages 1000
max_queued_messages 100000
set_tcp_nodelay true
log_dest stderr
user {user}
"""


class Mosquitto(Server):
    name: ClassVar[str] = "mosquitto"
    setting: ClassVar[str] = "CHARGESPHERE_MQTT_URL"

    @classmethod
    @functools.cache
    def what_is_missing(cls) -> str | None:
        if program("mosquitto") is None or program("mosquitto_passwd") is None:
            return "mosquitto (Debian: apt-get install mosquitto)"
        return None

    @property
    def url(self) -> str:
        return self.url_of("backend")

    def url_of(self, user: str) -> str:
        """The address with the login of `backend`, `demo` or `acme`."""
        return f"mqtt://{user}:{PASSWORDS[user]}@127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        configuration = self.folder / "mosquitto.conf"
        if not configuration.exists():
            self._prepare(configuration)
        return [str(program("mosquitto")), "-c", str(configuration)]

    def _prepare(self, configuration: Path) -> None:
        (self.folder / "data").mkdir(exist_ok=True)
        shutil.copy(ACCESS, self.folder / "access")
        passwords = self.folder / "passwords"
        passwords.touch(mode=0o600)
        for user, password in PASSWORDS.items():
            command = [str(program("mosquitto_passwd")), "-b", str(passwords), user, password]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            if done.returncode != 0:
                raise ServerFailedError(
                    f"mosquitto_passwd could not write {passwords}: {done.stderr.strip()}"
                )
        # Started as root it would else change to a user who cannot read the folder.
        configuration.write_text(
            CONFIGURATION.format(port=self.port, folder=self.folder, user=getpass.getuser())
        )

    def _answers(self) -> bool:
        connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x05\x00\x04test"
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(connect)
            # CONNACK of any kind will do: here a refusal, as this client names no user.
            return connection.recv(4)[:1] == b"\x20"
