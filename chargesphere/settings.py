"""Settings from the environment (`CHARGESPHERE_…`). A wrong value is one clear line and exit status 2."""

from __future__ import annotations

import base64
import binascii
import contextlib
import difflib
import ipaddress
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from chargesphere.errors import CannotBeginError
from domain.errors import ChargeSphereError
from domain.tenant import RESERVED, TENANT_ID
from projections.store.files import own_folder
from projections.store.folders import sync_folder

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PREFIX = "CHARGESPHERE_"
NAMES = (
    "KAFKA_BOOTSTRAP",
    "MONGO_URL",
    "REDIS_URL",
    "MQTT_URL",
    "MQTT_HISTORY",
    "JWT_SECRET",
    "JWT_SECRET_PREVIOUS",
    "MASTER_KEY",
    "PUBLIC_URL",
    "HUB_PARTY",
    "ALLOW_PRIVATE_URLS",
    "MAX_DECIDER_LAG_SECONDS",
    "TRUSTED_PROXIES",
    "PARTITIONS",
)

MOST_PARTITIONS = 500
"""Of a topic: each process follows those of all areas."""

_SERVICE_LINK = re.compile(
    r"(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
)
"""Kubernetes tells every container of every service in such variables: a service `chargesphere` is no setting."""


class SettingsError(ChargeSphereError):
    """A setting that cannot be; the message names it, its value (unless secret) and the way out."""


@dataclass(frozen=True, slots=True, repr=False)
class Settings:
    """What the environment says. Secrets are bytes and never printed.

    While the decider is more than `max_decider_lag` seconds behind, the edges refuse new work. What a request says of
    its client's address is believed only if it comes from one of `trusted_proxies`. `partitions` is what the log is
    laid out with at its first start, and what it must have at any other; None: as it is.
    """

    kafka_bootstrap: str | None
    mongo_url: str | None
    redis_url: str | None
    mqtt_url: str | None
    mqtt_history: bool
    jwt_secret: bytes | None
    jwt_secret_previous: bytes | None
    master_key: bytes | None
    public_url: str | None
    hub_party: tuple[str, str]
    allow_private_urls: bool | None
    max_decider_lag: float
    trusted_proxies: tuple[Network, ...] = ()
    partitions: int | None = None


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Raises SettingsError for the first value that is wrong."""
    values = {
        name.removeprefix(PREFIX): value.strip()
        for name, value in (environ if environ is not None else os.environ).items()
        if name.startswith(PREFIX) and value.strip()
    }
    for name in sorted(name for name in values.keys() - set(NAMES) if not _SERVICE_LINK.fullmatch(name)):
        raise SettingsError(f"{PREFIX}{name} is no setting{_like(name)}")
    return Settings(
        kafka_bootstrap=_bootstrap(values.get("KAFKA_BOOTSTRAP")),
        mongo_url=_url("MONGO_URL", values.get("MONGO_URL"), ("mongodb", "mongodb+srv")),
        redis_url=_url("REDIS_URL", values.get("REDIS_URL"), ("redis", "rediss")),
        mqtt_url=_mqtt(values.get("MQTT_URL")),
        mqtt_history=_flag("MQTT_HISTORY", values.get("MQTT_HISTORY")) or False,
        jwt_secret=_secret("JWT_SECRET", values.get("JWT_SECRET")),
        jwt_secret_previous=_secret("JWT_SECRET_PREVIOUS", values.get("JWT_SECRET_PREVIOUS")),
        master_key=_key("MASTER_KEY", values.get("MASTER_KEY")),
        public_url=_public(values.get("PUBLIC_URL")),
        hub_party=_party(values.get("HUB_PARTY", "DEHUB")),
        allow_private_urls=_flag("ALLOW_PRIVATE_URLS", values.get("ALLOW_PRIVATE_URLS")),
        max_decider_lag=_seconds("MAX_DECIDER_LAG_SECONDS", values.get("MAX_DECIDER_LAG_SECONDS", "10")),
        trusted_proxies=_networks("TRUSTED_PROXIES", values.get("TRUSTED_PROXIES", "")),
        partitions=_partitions(values.get("PARTITIONS")),
    )


def need_for_scale_out(settings: Settings) -> None:
    """The processes of a scaled-out system need what they share; raises SettingsError with all that is missing."""
    needed = {
        "KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "MONGO_URL": settings.mongo_url,
        "REDIS_URL": settings.redis_url,
        "JWT_SECRET": settings.jwt_secret,
        "MASTER_KEY": settings.master_key,
    }
    missing = [PREFIX + name for name, value in needed.items() if value is None]
    if missing:
        raise SettingsError(
            f"{', '.join(missing)} must be set for this process; `chargesphere serve` needs none"
        )


def local_secrets(folder: Path) -> tuple[bytes, bytes]:
    """The JWT secret and the master key of an installation on this machine, made at its first start.

    Raises SettingsError where they can be neither read nor made.
    """
    try:
        jwt, master = (_local_secret(folder, name) for name in ("jwt_secret", "master_key"))
    except OSError as error:
        raise SettingsError(f"the secrets in {folder} cannot be used: {error.strerror or error}") from None
    # The JWT secret is a text, so that it can be handed on in an environment.
    return jwt, base64.b64decode(master)


def signing_secret(settings: Settings, folder: Path) -> bytes:
    """With which tokens are signed: the setting's, else that of the `serve` whose data folder this is.

    Raises CannotBeginError where there is neither.
    """
    if settings.jwt_secret is not None:
        return settings.jwt_secret
    if not (folder / "jwt_secret").exists():
        raise CannotBeginError(
            f"no secret in {folder}: name the folder that `serve` uses with --data, "
            "or set CHARGESPHERE_JWT_SECRET"
        )
    return local_secrets(folder)[0]


def _local_secret(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.exists():
        own_folder(folder)
        make_durable(path, base64.b64encode(secrets.token_bytes(32)))
    return path.read_bytes()


def make_durable(path: Path, content: bytes) -> None:
    """A new file with this content, or none: a power loss leaves no half of it, and takes nothing away afterwards."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a renaming it never replaces what another process made meanwhile
    finally:
        draft.unlink()
    sync_folder(path.parent)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bootstrap(value: str | None) -> str | None:
    if value is None:
        return None
    for server in value.split(","):
        if not re.fullmatch(r"\[?[\w.:-]+\]?:\d{1,5}", server.strip()):
            raise SettingsError(f"{PREFIX}KAFKA_BOOTSTRAP: {server!r} is not HOST:PORT")
    return value


def _url(name: str, value: str | None, schemes: tuple[str, ...]) -> str | None:
    if value is None:
        return None
    try:
        parts = urlsplit(value)
        good = parts.scheme in schemes and bool(parts.netloc)
    except ValueError:
        good = False
    if not good:
        raise SettingsError(f"{PREFIX}{name} must be a URL that begins with {schemes[0]}://")
    return value


def _like(name: str) -> str:
    """What may have been meant."""
    found = difflib.get_close_matches(name, NAMES, 1)
    return f"; {PREFIX}{found[0]} is one" if found else f"; there are {', '.join(NAMES)}"


def _mqtt(value: str | None) -> str | None:
    """Our user at the broker is no tenant's: a tenant's id is its user name there."""
    url = _url("MQTT_URL", value, ("mqtt", "mqtts"))
    user = unquote(urlsplit(url).username or "") if url else ""
    if user and TENANT_ID.fullmatch(user) and user not in RESERVED:
        raise SettingsError(
            f"{PREFIX}MQTT_URL: a tenant may be named {user!r} and would have this login; "
            f"use one of {', '.join(sorted(RESERVED))}"
        )
    return url


def _secret(name: str, value: str | None) -> bytes | None:
    if value is None:
        return None
    if len(value.encode()) < 32:
        raise SettingsError(f"{PREFIX}{name} needs at least 32 bytes; `openssl rand -base64 32` makes one")
    return value.encode()


def _key(name: str, value: str | None) -> bytes | None:
    if value is None:
        return None
    try:
        key = base64.b64decode(value, validate=True)
    except binascii.Error:
        key = b""
    if len(key) < 32:
        raise SettingsError(
            f"{PREFIX}{name} must be base64 of at least 32 bytes; `openssl rand -base64 32` makes one"
        )
    return key


def _public(value: str | None) -> str | None:
    if value is None:
        return None
    url = _url("PUBLIC_URL", value, ("https", "http"))
    return url.rstrip("/") if url else None


def _party(value: str) -> tuple[str, str]:
    if not re.fullmatch(r"[A-Za-z]{2}\*?[A-Za-z0-9]{3}", value):
        raise SettingsError(
            f"{PREFIX}HUB_PARTY: {value!r} is not a country code and a party id, such as DEHUB"
        )
    text = value.upper().replace("*", "")
    return text[:2], text[2:]


def _flag(name: str, value: str | None) -> bool | None:
    if value is None:
        return None
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    raise SettingsError(f"{PREFIX}{name}: {value!r} is not true or false")


def _seconds(name: str, value: str) -> float:
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", value, re.ASCII) or float(value) < 1:
        raise SettingsError(f"{PREFIX}{name}: {value!r} is not a number of seconds, at least 1")
    return float(value)


def _partitions(value: str | None) -> int | None:
    if value is None:
        return None
    if not re.fullmatch(r"\d{1,3}", value, re.ASCII) or not 1 <= int(value) <= MOST_PARTITIONS:
        raise SettingsError(f"{PREFIX}PARTITIONS: {value!r} is not a number from 1 to {MOST_PARTITIONS}")
    return int(value)


def _networks(name: str, value: str) -> tuple[Network, ...]:
    found = []
    for item in filter(None, re.split(r"[\s,]+", value)):
        try:
            found.append(ipaddress.ip_network(item))
        except ValueError:
            raise SettingsError(
                f"{PREFIX}{name}: {item!r} is no address and no network such as 10.0.0.0/8"
            ) from None
    return tuple(found)
