"""The operator's commands on a small embedded installation that is not running."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from api.auth import verify_token
from chargesphere.cli import main
from chargesphere.settings import PREFIX, local_secrets
from commands.base import Area
from domain.access import Role
from projections import cdr
from projections.store import HUB, Document, Insert, Remove
from projections.store.sqlite import SqliteReadStore
from streams.log.layout import Layout
from streams.log.topology import FRAMES, events_topic, topics
from tests.chargesphere.installation import SESSION, STORY, documents, live, log_ends
from tests.servers import Kafka
from tests.servers.kafka import QUICK, java


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("lived")
    asyncio.run(live(data))
    return data


class Shell:
    """Runs commands as their user does, on one data folder."""

    def __init__(self, data: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
        self._data = data
        self._capture = capsysbinary

    def __call__(self, *words: str, status: int = 0) -> str:
        assert main([*words, "--data", str(self._data)]) == status
        out, self._err = self._capture.readouterr()
        return out.decode()

    @property
    def said(self) -> str:
        """What the last command printed on standard error."""
        return self._err.decode()

    def events(self, *words: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self(*words).splitlines()]


@pytest.fixture
def shell(lived: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Shell:
    return Shell(lived, capsysbinary)


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


# -- replay and search


def test_replay_prints_every_event_of_an_aggregate_in_order(shell: Shell) -> None:
    session = shell.events("replay", "--aggregate", f"session|{SESSION}")
    assert [event["version"] for event in session] == list(range(1, len(session) + 1))
    assert types(session)[0] == "session.started.v1"
    assert types(session)[-1] == "session.cdr_issued.v1"
    assert {event["tenant"] for event in session} == {"demo"}


def test_what_was_read_beside_the_events_is_in_replay_search_and_story_and_in_no_state(shell: Shell) -> None:
    aggregate = "charge_point|demo|CP-1"
    [reading] = shell.events("replay", "--type", "charge_point.reading_taken.v1")
    assert (reading["aggregate"], reading["session_id"], reading["tenant"]) == (aggregate, SESSION, "demo")
    assert reading in shell.events("events", "--aggregate", aggregate)
    line = "charge_point.reading_taken.v1 → charge_point.reading_taken.v1"
    assert any(told.endswith(line) for told in shell("events", "--story", SESSION).splitlines())
    shell("events", "--aggregate", aggregate, "--at", "2100-01-01T00:00:00Z")


def test_replay_twice_prints_the_same_and_adds_nothing_to_the_log(shell: Shell, lived: Path) -> None:
    before = asyncio.run(log_ends(lived))
    assert shell("replay") == shell("replay")
    assert asyncio.run(log_ends(lived)) == before


def test_replay_and_states_hold_no_node_and_no_address_unless_asked_for(shell: Shell) -> None:
    aggregate = "charge_point|demo|CP-1"
    [connected] = shell.events("replay", "--type", "charge_point.connected.v1")
    assert connected.keys().isdisjoint({"node", "slot", "boot", "address"})
    [asked] = shell.events("replay", "--type", "charge_point.connected.v1", "--addresses")
    assert (asked["node"], asked["boot"]) == ("gw", "b1")
    assert '"b1"' not in shell("events", "--aggregate", aggregate, "--at", "2100-01-01T00:00:00Z")


def test_a_search_by_type_area_tenant_and_limit(shell: Shell) -> None:
    assert types(shell.events("events", "--type", "charge_point.booted.v1")) == ["charge_point.booted.v1"]
    kinds = {event["aggregate"].partition("|")[0] for event in shell.events("events", "--area", "delivery")}
    assert kinds == {"delivery", "pushes"}
    assert shell.events("events", "--tenant", "acme") == []
    assert len(shell.events("events", "--limit", "2")) == 2


def test_a_search_by_time_of_receipt_includes_its_beginning_and_excludes_its_end(shell: Shell) -> None:
    [started] = shell.events("events", "--type", "charge_point.transaction_started.v1")
    at = started["received_at"]
    assert started in shell.events("events", "--since", at)
    assert started not in shell.events("events", "--until", at)


def test_a_time_an_area_or_a_folder_that_is_none_is_one_line_and_exit_status_2(
    shell: Shell, tmp_path: Path
) -> None:
    assert shell("events", "--since", "yesterday", status=2) == ""
    assert shell.said == "chargesphere: 'yesterday' is not a time as in 2026-03-01T12:00:00Z\n"
    shell("replay", "--area", "moon", status=2)
    assert shell.said.startswith("chargesphere: no area 'moon'; there are charge-point, session")
    shell("events", "--at", "2026-03-01T12:00:00Z", status=2)
    assert shell.said == "chargesphere: --at needs --aggregate ID, such as 'session|…'\n"
    nowhere = tmp_path / "nowhere"
    assert main(["replay", "--data", str(nowhere)]) == 2
    assert not nowhere.exists()


def test_a_story_goes_from_the_charge_points_command_to_the_deliveries(shell: Shell) -> None:
    lines = shell("events", "--story", STORY).splitlines()
    # Readings beside the events come in no order with them.
    told = [line.split("  ", 1)[1] for line in lines if "reading_taken" not in line]
    assert told[0] == "charge_point.start_transaction.v1 → charge_point.transaction_started.v1"
    commands = [line.partition(" → ")[0] for line in told]
    for command in ("session.start.v1", "session.end.v1", "delivery.want.v1"):
        assert command in commands
    assert [line[:24] for line in lines] == sorted(line[:24] for line in lines)


def test_a_story_is_found_by_its_session_too(shell: Shell) -> None:
    assert "session.cdr_issued.v1" in shell("events", "--story", SESSION)


def test_an_unknown_story_is_said_and_exit_status_1(shell: Shell) -> None:
    assert shell("events", "--story", "nobody", status=1) == ""
    assert shell.said == "nothing is known of nobody\n"


def test_the_state_of_an_aggregate_at_a_time(shell: Shell) -> None:
    aggregate = shell.events("events", "--type", "charge_point.booted.v1")[0]["aggregate"]
    first, *_, last = (
        event for event in shell.events("replay", "--aggregate", aggregate) if "version" in event
    )
    then = json.loads(shell("events", "--aggregate", aggregate, "--at", first["received_at"]))
    now = json.loads(shell("events", "--aggregate", aggregate, "--at", "2100-01-01T00:00:00Z"))
    assert then["id"] == now["id"] == aggregate
    assert then["version"] < now["version"] == last["version"]
    shell("events", "--aggregate", aggregate, "--at", "2000-01-01T00:00:00Z", status=1)
    assert shell.said.startswith(f"nothing is known of {aggregate} at 2000")


# -- read models


def test_a_rebuild_gives_equal_documents_and_appends_nothing_to_the_log(shell: Shell, lived: Path) -> None:
    before, ends = asyncio.run(documents(lived)), asyncio.run(log_ends(lived))
    for collection in ("chargesphere.cdrs", "ocpp_demo.sessions", "ocpp_demo.frames", "ocpp_demo.audit"):
        assert before[collection], collection
    said = shell("projections", "rebuild")
    assert re.fullmatch(r"\d+ decisions in \d+\.\d s, \d+/s; \d+ writes, 1 frames\n", said)
    assert asyncio.run(documents(lived)) == before
    assert asyncio.run(log_ends(lived)) == ends


def test_a_damaged_read_model_is_removed_and_built_again(
    lived: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(lived, data)
    before = asyncio.run(documents(data))
    [file] = (data / "read").glob("ocpp_demo*.db")
    whole = file.read_bytes()
    at = whole.rindex(b'"status"')
    file.write_bytes(whole[:at] + b"#" + whole[at + 1 :])
    shell = Shell(data, capsysbinary)
    assert f"remove {file}* and run `chargesphere projections rebuild`" in shell("check", status=1)
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    shell("projections", "rebuild")
    assert asyncio.run(documents(data)) == before
    assert shell("check").startswith("ok ")


def test_a_rebuild_repairs_what_was_lost_and_keeps_the_data_keys(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    asyncio.run(live(tmp_path))
    before = asyncio.run(documents(tmp_path))

    async def spoil() -> None:
        store = SqliteReadStore(tmp_path / "read")
        await store.apply([Insert("chargesphere_keys", "keys", "a token", {"wrapped": "w"})])
        await store.drop_all(["ocpp_demo"])
        await store.apply([Insert("ocpp_demo", "sessions", "stray", {"status": "active"})])
        await store.close()

    async def key() -> object:
        store = SqliteReadStore(tmp_path / "read")
        try:
            return await store.get("chargesphere_keys", "keys", "a token")
        finally:
            await store.close()

    asyncio.run(spoil())
    Shell(tmp_path, capsysbinary)("projections", "rebuild")
    assert asyncio.run(documents(tmp_path)) == before
    assert asyncio.run(key()) is not None


def test_without_dead_letters_that_is_said(shell: Shell) -> None:
    assert shell("dead-letters") == "no dead letters\n"


def test_dead_letters_name_the_document_and_the_reason(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    asyncio.run(live(tmp_path))

    async def park() -> None:
        store = SqliteReadStore(tmp_path / "read")
        letter: Document = {
            "projection": "cdrs",
            "document": "chargesphere/cdrs/1",
            "offset": 7,
            "reason": "KeyError: 'a'",
        }
        await store.apply([Insert(HUB, "dead_letters", "cdrs|1", letter)])
        await store.close()

    asyncio.run(park())
    listed = Shell(tmp_path, capsysbinary)("dead-letters")
    assert "chargesphere/cdrs/1" in listed
    assert "KeyError" in listed


def test_a_dead_letter_is_retried_and_gone_and_its_document_made_anew(
    tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    asyncio.run(live(tmp_path))
    before = asyncio.run(documents(tmp_path))
    aggregate = f"session|{SESSION}"
    letter: Document = {
        "projection": cdr.VIEW.name,
        "document": f"chargesphere/cdrs/{SESSION}",
        "topic": events_topic(Area.SESSION),
        "partition": Layout().partition_of(aggregate),
        "offset": 0,
        "reason": "KeyError: 'a'",
    }

    async def park() -> None:
        store = SqliteReadStore(tmp_path / "read")
        version = int(str(before["chargesphere.cdrs"][SESSION]["version"]))
        await store.apply([Remove(HUB, "cdrs", SESSION, version)])
        await store.apply([Insert(HUB, "dead_letters", "the-letter", letter)])
        await store.close()

    asyncio.run(park())
    shell = Shell(tmp_path, capsysbinary)
    assert "the-letter" in shell("dead-letters")
    assert shell("dead-letters", "--retry", "the-letter").startswith("made anew at version ")
    assert shell("dead-letters") == "no dead letters\n"
    made = asyncio.run(documents(tmp_path))["chargesphere.cdrs"][SESSION]
    # Its delivery is another projection's.
    for name in before["chargesphere.cdrs"][SESSION].keys() - {"delivery", "version"}:
        assert made[name] == before["chargesphere.cdrs"][SESSION][name], name
    shell("dead-letters", "--retry", "the-letter", status=1)
    assert shell.said == "chargesphere: no dead letter 'the-letter'\n"


def test_deliveries_show_what_waits_and_for_whom(shell: Shell) -> None:
    listed = shell("deliveries")
    assert listed.count("NL*TNM") == 2
    assert shell("deliveries", "--state", "delivered") == "no deliveries\n"


# -- keys and settings


def test_a_token_opens_the_api_of_its_tenant(shell: Shell, lived: Path) -> None:
    for more, subject in ((), "operator"), (("--subject", "ann"), "ann"):
        printed = shell("token", "--role", "operator", "--tenant", "demo", *more).strip()
        who = verify_token(printed, [local_secrets(lived)[0]], datetime.now(UTC))
        assert (who.role, who.tenant, who.subject) == (Role.OPERATOR, "demo", subject)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--role", "operator"], "a platform_admin has no tenant; every other role needs --tenant"),
        (
            ["--role", "platform_admin", "--tenant", "demo"],
            "a platform_admin has no tenant; every other role needs --tenant",
        ),
        (
            ["--role", "viewer", "--tenant", "De Mo"],
            "--tenant: tenant 'De Mo' must be 1 to 32 of a-z, 0-9 and -",
        ),
        (
            ["--role", "viewer", "--tenant", "demo", "--subject", "a" * 257],
            "--subject: must have at most 256 characters",
        ),
    ],
)
def test_a_token_for_nobody_is_one_line_and_exit_status_2(shell: Shell, words: list[str], line: str) -> None:
    shell("token", *words, status=2)
    assert shell.said == f"chargesphere: {line}\n"


def test_a_token_needs_the_secret_of_an_installation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["token", "--role", "platform_admin", "--data", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("chargesphere: no secret in ")
    assert not (tmp_path / "none").exists()


def test_check_tells_what_it_tried_and_makes_nothing(shell: Shell, lived: Path, tmp_path: Path) -> None:
    assert shell("check").startswith(f"ok    the embedded log in {lived}: ")
    fresh = tmp_path / "fresh"
    assert main(["check", "--data", str(fresh)]) == 0
    assert not fresh.exists()


def test_check_reads_the_embedded_files_through_and_names_each_damage(
    lived: Path, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    data = tmp_path / "damaged"
    shutil.copytree(lived, data)
    topic, number = events_topic(Area.SESSION), Layout().partition_of(f"session|{SESSION}")
    with contextlib.closing(sqlite3.connect(data / "log.db")) as log, log:
        (id,) = log.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()
        log.execute(
            "UPDATE log SET value = ? WHERE topic = ? AND partition = ? AND offset = 1", (b"{}", id, number)
        )
    [file] = (path for path in (data / "read").glob("chargesphere*.db") if b"c_tenants" in path.read_bytes())
    with contextlib.closing(sqlite3.connect(file)) as store, store:
        store.execute("UPDATE c_tenants SET body = '{}'")
    said = Shell(data, capsysbinary)("check", status=1).splitlines()
    of_store, of_log, total = said
    assert of_store.startswith(f"wrong {file} is damaged: the document")
    assert of_log.startswith(f"wrong {topic}[{number}]@")
    assert f"{data / 'log.db'} is damaged at {topic}[{number}]: the record at offset 1" in of_log
    assert total == f"wrong the embedded log in {data}: 2 damages"


def test_check_names_what_cannot_be_reached(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, lived: Path
) -> None:
    monkeypatch.setenv("CHARGESPHERE_REDIS_URL", "redis://127.0.0.1:1")
    said = shell("check", status=1).splitlines()
    assert said[0].startswith("ok    the embedded log")
    assert said[1].startswith("wrong Redis: ")


def test_topics_are_kafkas(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["topics"]) == 2
    assert capsys.readouterr().err.startswith("chargesphere: CHARGESPHERE_KAFKA_BOOTSTRAP is not set")


@pytest.mark.long(18)
def test_topics_says_each_setting_that_is_wrong_with_the_way_out(
    own_kafka: Kafka, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"retention.ms": "1000", "unclean.leader.election.enable": "true", "max.message.bytes": "1000"}

    async def make() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka.url)
        await admin.start()
        await admin.create_topics([NewTopic(FRAMES, Layout().partitions, 1, topic_configs=wrong)])
        await admin.close()

    asyncio.run(make())
    monkeypatch.setenv("CHARGESPHERE_KAFKA_BOOTSTRAP", own_kafka.url)
    assert main(["topics"]) == 1
    lines = capsys.readouterr().err.splitlines()
    said = [line.removeprefix("chargesphere: topic ").split("; ") for line in lines]
    needed = ["2592000000", "false", "1048576"]
    assert [what for what, _ in said] == [
        f"{FRAMES} has {name}={value}, this release needs {good}"
        for (name, value), good in zip(wrong.items(), needed, strict=True)
    ]
    for _, way_out in said:
        program, *arguments = way_out.split()
        assert program == "kafka-configs.sh"
        subprocess.run(
            [*java(*QUICK), "kafka.admin.ConfigCommand", *arguments], check=True, capture_output=True
        )
    assert main(["topics"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 of 3 replicas: what an acknowledged record survives is in docs/guarantees.md",
        f"{len(topics(Layout()))} topics of 24 partitions are as they should be",
    ]

    monkeypatch.setenv("CHARGESPHERE_PARTITIONS", "12")
    assert main(["topics"]) == 2
    assert capsys.readouterr().err == (
        "chargesphere: CHARGESPHERE_PARTITIONS is 12, and the log has had 24 partitions since its first start: "
        "leave it out\n"
    )
