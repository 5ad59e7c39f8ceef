"""The description of the API says everything that a client must know, and its page loads nothing from elsewhere."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.openapi import PAGE, WRITES, described, docs_router
from api.v1 import NOUNS
from api.v1.answers import ANSWERS
from commands.remote_command_request import COMMANDS
from tests.api.answers import misfit
from tests.api.v1.world import World


@pytest.fixture
def whole(world: World) -> dict[str, Any]:
    return described(world.app)


def operations(whole: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(method, path, one) for path, all in whole["paths"].items() for method, one in all.items()]


def test_every_answer_has_a_schema_and_an_example(whole: dict[str, Any]) -> None:
    lacking = []
    for method, path, operation in operations(whole):
        for status, response in operation["responses"].items():
            if status.startswith("2") and status != "204":
                content: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
                if not content.get("schema") or "example" not in content:
                    lacking.append((method, path, status))
    assert lacking == []


def test_every_example_fits_its_schema() -> None:
    for name, answer in ANSWERS.items():
        assert misfit(answer["example"], answer["schema"], name) == ""


def test_no_answer_is_described_of_a_route_that_is_not_there() -> None:
    routes = {
        f"{method} {route.path}"
        for noun in NOUNS
        for route in noun.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert {name.rpartition(" ")[0] for name in ANSWERS} <= routes


def test_every_error_is_a_problem_detail(whole: dict[str, Any]) -> None:
    for _, _, operation in operations(whole):
        assert "422" not in operation["responses"]
        content = operation["responses"]["default"]["content"]
        assert content == {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    assert "HTTPValidationError" not in whole["components"]["schemas"]


def test_every_write_may_have_an_idempotency_key(whole: dict[str, Any]) -> None:
    for method, path, operation in operations(whole):
        names = {parameter["name"] for parameter in operation.get("parameters", ())}
        assert ("Idempotency-Key" in names) == (method in WRITES), (method, path)


def test_every_command_that_there_is_is_named(whole: dict[str, Any]) -> None:
    command = whole["components"]["schemas"]["NewCommand"]["properties"]["command_type"]
    assert command["enum"] == sorted(COMMANDS)
    assert all(name in command["description"] for name in COMMANDS)


def test_every_command_that_a_job_can_be_is_named(whole: dict[str, Any]) -> None:
    command = whole["components"]["schemas"]["NewJob"]["properties"]["command_type"]
    charges = {"remote_start", "remote_stop", "remote_start_transaction", "remote_stop_transaction"}
    assert set(command["enum"]) == set(COMMANDS) - charges


async def test_the_page_loads_nothing_from_elsewhere() -> None:
    app = FastAPI(docs_url=None)
    app.include_router(docs_router())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as http:
        response = await http.get("/docs")

    assert response.text == PAGE
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert not any(sign in PAGE for sign in ("http://", "https://", "src=", "@import", "innerHTML", "eval("))
