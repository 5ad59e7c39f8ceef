"""What `/api/v1` answers, as its tests see it: held against `api/v1/answers.json`, of which the description is made.

`python -m tests.api.answers` runs the tests of `/api/v1` and writes that file anew from what they were answered:
types, which fields are always there, and an example. Whoever changes an answer does so, and reads the difference.
Who only adds routes may name their test files: then what is described already stays as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from fastapi.routing import APIRoute

from api.v1 import NOUNS
from api.v1.answers import ANSWERS, FILE

COLLECT: Final = "CHARGESPHERE_TESTS_COLLECT_ANSWERS"
OPEN: Final = frozenset(
    (
        *("parameters", "payload", "result", "tariff", "cdr", "session", "values", "business_details"),
        *("request", "response", "details", "configuration", "body", "content", "data", "settings"),
        *("checks", "explanation"),
    )
)
"""Objects whose fields are OCPI's, OCPP's or a caller's own."""
FEW: Final = 2
"""Items of a list in an example."""
Schema = dict[str, Any]


async def see(response: httpx.Response) -> None:
    """A hook of a test's client."""
    await response.aread()
    name = route_of(response.request.method, response.request.url.path)
    if name is None or not response.content or response.status_code >= 300:
        return
    key, value = f"{name} {response.status_code}", response.json()
    if folder := os.environ.get(COLLECT):
        with (Path(folder) / f"{os.getpid()}.jsonl").open("ab") as file:
            file.write(msgspec.json.encode([key, value]) + b"\n")
        return
    wrong = misfit(value, ANSWERS[key]["schema"], "answer") if key in ANSWERS else "it is not described"
    assert not wrong, f"{key}: {wrong}; python -m tests.api.answers describes it anew"


def route_of(method: str, path: str) -> str | None:
    path = path.removeprefix("/api/v1")
    for noun in NOUNS:
        for route in noun.routes:
            if (
                isinstance(route, APIRoute)
                and method in (route.methods or ())
                and route.path_regex.match(path)
            ):
                return f"{method} {route.path}"
    return None


def kind(value: object) -> str:
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds[type(value)]


def learnt(values: list[Any], name: str = "") -> Schema:
    """What all of these are."""
    kinds = sorted({kind(value) for value in values})
    if "number" in kinds and "integer" in kinds:
        kinds.remove("integer")
    schema: Schema = {"type": kinds[0] if len(kinds) == 1 else kinds}
    objects = [value for value in values if isinstance(value, dict)]
    if objects and name not in OPEN:
        names = dict.fromkeys(field for one in objects for field in one)
        schema["properties"] = {
            field: learnt([one[field] for one in objects if field in one], field) for field in names
        }
        schema["required"] = [field for field in names if all(field in one for one in objects)]
    items = [item for value in values if isinstance(value, list) for item in value]
    if items and name not in OPEN:
        schema["items"] = learnt(items)
    return schema


def misfit(value: Any, schema: Schema, where: str) -> str:
    """The first thing in which a value is not as described."""
    allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if kind(value) not in allowed and not (kind(value) == "integer" and "number" in allowed):
        return f"{where} is {kind(value)}, not {' or '.join(allowed)}"
    if isinstance(value, dict) and "properties" in schema:
        for name in schema["required"]:
            if name not in value:
                return f"{where}.{name} is missing"
        for name, inner in value.items():
            if name not in schema["properties"]:
                return f"{where}.{name} is not described"
            if wrong := misfit(inner, schema["properties"][name], f"{where}.{name}"):
                return wrong
    if isinstance(value, list) and "items" in schema:
        for number, item in enumerate(value):
            if wrong := misfit(item, schema["items"], f"{where}[{number}]"):
                return wrong
    return ""


def example_of(values: list[Any]) -> Any:
    """The fullest of them, its lists shortened."""
    return shortened(max(values, key=lambda value: len(msgspec.json.encode(shortened(value)))))


def shortened(value: Any) -> Any:
    if isinstance(value, list):
        return [shortened(item) for item in value[:FEW]]
    if isinstance(value, dict):
        return {name: shortened(item) for name, item in value.items()}
    return value


def main(files: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2"]
        words += files or ["tests/api/v1"]
        words += ["--ignore", "tests/api/v1/test_openapi.py"]  # it holds what is being written
        done = subprocess.run(words, env={**os.environ, COLLECT: folder}, check=False)
        if done.returncode:
            return done.returncode
        seen: dict[str, list[Any]] = {}
        for file in sorted(Path(folder).glob("*.jsonl")):
            for line in file.read_bytes().splitlines():
                key, value = msgspec.json.decode(line)
                seen.setdefault(key, []).append(value)
    found = {key: {"schema": learnt(values), "example": example_of(values)} for key, values in seen.items()}
    table = dict(sorted((found | ANSWERS if files else found).items()))
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(table), indent=1) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
