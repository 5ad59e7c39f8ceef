"""Settings: a wrong value is one clear line that names it; secrets are never printed."""

from __future__ import annotations

import base64
import os
import stat
from pathlib import Path

import pytest

from chargesphere.settings import (
    NAMES,
    PREFIX,
    Settings,
    SettingsError,
    is_loopback,
    local_secrets,
    need_for_scale_out,
    read_settings,
)

SECRET = "s" * 32
KEY = base64.b64encode(b"k" * 32).decode()
GOOD = {
    "KAFKA_BOOTSTRAP": "one:9092,two:9092",
    "MONGO_URL": "mongodb://m:27017/?replicaSet=rs0",
    "REDIS_URL": "redis://r:6379",
    "MQTT_URL": "mqtt://backend:password@q:1883",
    "MQTT_HISTORY": "yes",
    "JWT_SECRET": SECRET,
    "JWT_SECRET_PREVIOUS": "p" * 32,
    "MASTER_KEY": KEY,
    "PUBLIC_URL": "https://hub.example/",
    "HUB_PARTY": "de*abc",
    "ALLOW_PRIVATE_URLS": "true",
    "MAX_DECIDER_LAG_SECONDS": "2.5",
    "TRUSTED_PROXIES": "10.0.0.0/8, 192.0.2.7 2001:db8::/32",
    "PARTITIONS": "48",
}


def read(**values: str) -> Settings:
    return read_settings({PREFIX + name: value for name, value in values.items()})


def test_every_name_has_a_good_value_here() -> None:
    assert tuple(GOOD) == NAMES


def test_every_setting_is_read() -> None:
    settings = read(**GOOD)
    assert settings.kafka_bootstrap == "one:9092,two:9092"
    assert settings.master_key == b"k" * 32
    assert settings.jwt_secret == SECRET.encode()
    assert settings.public_url == "https://hub.example"
    assert settings.mqtt_history is True
    assert settings.hub_party == ("DE", "ABC")
    assert settings.allow_private_urls is True
    assert settings.max_decider_lag == 2.5
    assert [str(one) for one in settings.trusted_proxies] == ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]
    assert settings.partitions == 48
    need_for_scale_out(settings)


def test_without_settings_everything_is_embedded() -> None:
    settings = read_settings({})
    assert settings.kafka_bootstrap is settings.mongo_url is settings.redis_url is settings.mqtt_url is None
    assert settings.hub_party == ("DE", "HUB")
    assert settings.allow_private_urls is None
    assert settings.max_decider_lag == 10
    assert settings.partitions is None


def test_an_empty_value_is_as_good_as_none() -> None:
    assert read(KAFKA_BOOTSTRAP=" ").kafka_bootstrap is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_BOOTSTRAP", "kafka"),
        ("KAFKA_BOOTSTRAP", "kafka:9092,other"),
        ("MONGO_URL", "localhost:27017"),
        ("MONGO_URL", "mongodb://[::1"),
        ("REDIS_URL", "http://r"),
        ("MQTT_URL", "mqtt://"),
        ("MQTT_URL", "mqtt://blue:secret@q:1883"),
        ("MQTT_URL", "mqtts://bl%75e:secret@q:1883"),
        ("JWT_SECRET", "short"),
        ("JWT_SECRET_PREVIOUS", "short"),
        ("MASTER_KEY", "not base64!"),
        ("MASTER_KEY", base64.b64encode(b"short").decode()),
        ("PUBLIC_URL", "hub.example"),
        ("HUB_PARTY", "GERMANY"),
        ("ALLOW_PRIVATE_URLS", "maybe"),
        ("MAX_DECIDER_LAG_SECONDS", "0"),
        ("MAX_DECIDER_LAG_SECONDS", "10 s"),
        ("MAX_DECIDER_LAG_SECONDS", "nan"),
        ("PARTITIONS", "0"),
        ("PARTITIONS", "501"),
        ("PARTITIONS", "-1"),
        ("PARTITIONS", "many"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_setting(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})
    message = str(caught.value)
    assert message.startswith(PREFIX + name)
    assert "\n" not in message


@pytest.mark.parametrize("url", ["mqtt://q:1883", "mqtt://platform:p@q", "mqtt://Charge_Sphere:p@q"])
def test_a_login_at_the_broker_that_no_tenant_can_have_is_taken(url: str) -> None:
    assert read(MQTT_URL=url).mqtt_url == url


@pytest.mark.parametrize(
    ("name", "way_out"),
    [("KAFKA_BOOTSTRAPS", "CHARGESPHERE_KAFKA_BOOTSTRAP is one"), ("COLOUR", "there are KAFKA_BOOTSTRAP, ")],
)
def test_an_unknown_setting_is_one_line_that_names_it_and_not_its_value(name: str, way_out: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{name: "hunter2", "HUB_PARTY": "nonsense"})
    assert str(caught.value).startswith(f"{PREFIX}{name} is no setting; {way_out}")
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_kubernetes_says_of_a_service_named_chargesphere_is_no_setting_and_no_mistake() -> None:
    """https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables"""
    read(
        SERVICE_HOST="10.0.0.11",
        SERVICE_PORT="8080",
        SERVICE_PORT_HTTP="8080",
        PORT="tcp://10.0.0.11:8080",
        PORT_8080_TCP="tcp://10.0.0.11:8080",
        PORT_8080_TCP_ADDR="10.0.0.11",
        API_SERVICE_HOST="10.0.0.12",
    )


@pytest.mark.parametrize("name", ["JWT_SECRET", "JWT_SECRET_PREVIOUS", "MASTER_KEY"])
def test_a_wrong_secret_is_not_printed(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{name: "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert "openssl rand -base64 32" in str(caught.value)


def test_settings_are_not_printed_by_accident() -> None:
    assert SECRET not in repr(read(**GOOD))


def test_all_that_is_missing_for_a_process_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        need_for_scale_out(read(MONGO_URL=GOOD["MONGO_URL"]))
    assert str(caught.value) == (
        "CHARGESPHERE_KAFKA_BOOTSTRAP, CHARGESPHERE_REDIS_URL, CHARGESPHERE_JWT_SECRET, CHARGESPHERE_MASTER_KEY "
        "must be set for this process; `chargesphere serve` needs none"
    )


def test_local_secrets_are_made_once_and_are_the_owners_alone(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("data") / "new"
    first = local_secrets(folder)
    assert local_secrets(folder) == first
    assert [len(base64.b64decode(first[0])), len(first[1])] == [32, 32]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_local_secrets_are_whole_and_durable_before_they_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A master key that a power loss takes away would leave every sealed text unreadable."""
    folder, steps = tmp_path / "data", list[str]()
    fsync, link = os.fsync, os.link

    def synced(descriptor: int) -> None:
        steps.append("sync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "sync file")
        fsync(descriptor)

    def linked(draft: Path, path: Path) -> None:
        steps.append(path.name)
        link(draft, path)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "link", linked)
    local_secrets(folder)
    assert steps == [
        "sync folder",
        *("sync file", "jwt_secret", "sync folder"),
        *("sync file", "master_key", "sync folder"),
    ]
    assert sorted(path.name for path in folder.iterdir()) == ["jwt_secret", "master_key"]


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("hub.example", False)],
)
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
