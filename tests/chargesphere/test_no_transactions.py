"""ADR 1: nothing rests on a transaction of Kafka, in the code and on a broker on which the product has run."""

from __future__ import annotations

import ast
import base64
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from chargesphere.process import Plan, running
from chargesphere.settings import PREFIX, read_settings
from commands.base import Meta
from commands.tenant import CreateTenant
from tests.servers import Kafka, Mongo

ROOT = Path(__file__).parents[2]
ROOMS = (
    "streams",
    "application",
    "api",
    "gateway",
    "chargesphere",
    "commands",
    "projections",
    "domain",
    "protocols",
    "bench",
)
FORBIDDEN = {
    "transactional_id",
    "begin_transaction",
    "commit_transaction",
    "abort_transaction",
    "send_offsets_to_transaction",
    "exactly_once",
    "read_committed",
}


def words(tree: ast.AST) -> set[str]:
    """Every name, attribute, keyword and short text of a module."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.keyword(arg=str(word)):
                found.add(word)
            case ast.Constant(value=str(word)) if len(word) < 40:
                found.add(word)
    return found


@pytest.mark.parametrize("room", ROOMS)
def test_no_code_speaks_of_a_transaction_of_kafka(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        assert not words(ast.parse(path.read_text())) & FORBIDDEN, path


@pytest.mark.long(19)
async def test_a_broker_on_which_the_product_has_run_has_seen_no_transaction(
    tmp_path: Path, own_kafka: Kafka, own_mongo: Mongo
) -> None:
    """The first producer with a transaction in a broker's life makes its topic of transactions."""
    settings = {
        "KAFKA_BOOTSTRAP": own_kafka.bootstrap,
        "MONGO_URL": own_mongo.url,
        "JWT_SECRET": "s" * 32,
        "MASTER_KEY": base64.b64encode(b"m" * 32).decode(),
    }
    roles = frozenset({"api", "decider", "projector", "effects"})
    plan = Plan(roles, "one", "127.0.0.1", 0, 0, tmp_path)
    async with running(
        plan, read_settings({PREFIX + name: value for name, value in settings.items()})
    ) as one:
        meta = Meta(command_id="c1", at=datetime.now(UTC), tenant="blue")
        await one.backbone.bus.ask(CreateTenant(tenant="blue", name="Blue"), meta, timeout=60)
    admin = AIOKafkaAdminClient(bootstrap_servers=own_kafka.bootstrap)
    await admin.start()
    names = await admin.list_topics()
    await admin.close()
    assert "__consumer_offsets" in names
    assert "__transaction_state" not in names
