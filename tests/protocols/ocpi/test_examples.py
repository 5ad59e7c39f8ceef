"""Examples of every object, with every field of every class, read and written back in both versions."""

from __future__ import annotations

import pytest

from protocols.ocpi import dump, dump_json, parse, v2_2_1, v2_3_0
from protocols.ocpi.bridging import downgrade, upgrade
from protocols.ocpi.shape import shapes
from protocols.ocpi.types import JSON, OcpiModel
from tests.protocols.ocpi.bodies import read, same, written
from tests.protocols.ocpi.examples import EXAMPLES

MODULE_OF = {model.__name__: module for module, models in v2_3_0.MODULES.items() for model in models}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_comes_back_as_it_was_sent(name: str) -> None:
    found = parse(v2_3_0.OBJECTS[name], written(EXAMPLES[name]))
    assert same(read(dump(found)), EXAMPLES[name])
    assert not found.model_extra


def test_the_examples_hold_every_field_of_every_class() -> None:
    seen: dict[str, set[str]] = {}
    for name, body in EXAMPLES.items():
        collect(v2_3_0.OBJECTS[name], body, seen)
    assert seen == {name: set(model.model_fields) for name, model in v2_3_0.OBJECTS.items()}


def collect(model: type[OcpiModel], body: JSON, seen: dict[str, set[str]]) -> None:
    """Adds the classes and fields that a body holds."""
    assert isinstance(body, dict)
    seen.setdefault(model.__name__, set()).update(body)
    for name, shape in shapes(model).items():
        if shape.model and name in body:
            value = body[name]
            for item in value if isinstance(value, list) else [value]:
                collect(shape.model, item, seen)


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name in v2_2_1.OBJECTS])
def test_an_example_has_a_counterpart_in_2_2_1_that_comes_back_as_it_was_sent(name: str) -> None:
    older = downgrade(MODULE_OF[name], parse(v2_3_0.OBJECTS[name], written(EXAMPLES[name]))).value

    assert older is not None
    body = dump_json(older)
    assert type(older) is v2_2_1.OBJECTS[name]
    assert same(read(dump(parse(type(older), written(body)))), body)
    assert not older.model_extra

    newer = upgrade(MODULE_OF[name], older)
    assert newer.lost == ()
    assert newer.value is not None
    again = downgrade(MODULE_OF[name], newer.value).value
    assert again is not None and same(dump_json(again), body)
