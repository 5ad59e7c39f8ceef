"""No handler raises for what its command's types allow: a handler that raises is a failed decision for ever.

Each aggregate is asked a few commands in a row, whose fields are drawn from their types, mostly with usual values.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import cache
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargesphere import registry
from commands.base import Command, Meta, Route
from commands.charge_point import Register
from commands.delivery import Want
from commands.partner import CreatePartner
from commands.remote_command import RequestRemoteCommand
from commands.session import StartSession
from commands.tariff import PutTariff
from commands.tenant import CreateTenant
from commands.token import PutToken
from domain.aggregate import Aggregate
from streams.log.envelope import raw
from tests.laws import tried

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXTS = st.sampled_from(["", "a", "CP1", "EUR", "Accepted", "1", "UTC", "2026-03-01T12:00:00Z"]) | st.text(
    max_size=12
)
TIMES = st.integers(-7200, 7200).map(lambda seconds: NOON + timedelta(seconds=seconds)) | (
    st.datetimes(timezones=st.just(UTC)) | st.just(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
)
INTEGERS = st.integers(0, 3) | st.integers(-(2**63), 2**63 - 1)
DECIMALS = st.integers(0, 5000).map(Decimal) | st.decimals(allow_nan=False)
"""Without NaN: no wire brings it, a number is read by its digits."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
PLAIN: Mapping[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    int: INTEGERS,
    bool: st.booleans(),
    float: st.floats(allow_nan=False, allow_infinity=False),
    Decimal: DECIMALS,
    datetime: TIMES,
    timedelta: st.integers(0, 3600).map(lambda seconds: timedelta(seconds=seconds)),
    type(None): st.none(),
    object: JSON,
    Any: JSON,
    bytes: st.binary(max_size=8),
    msgspec.Raw: JSON.map(lambda value: msgspec.Raw(msgspec.json.encode(value))),
}


@cache
def drawn(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type, as JSON may bring them."""
    if hint in PLAIN:
        return PLAIN[hint]
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return drawn(args[0])
    if origin in (Union, types.UnionType):
        return st.one_of([drawn(arg) for arg in args])
    if origin is not None and args and origin in (tuple, list, set, frozenset):
        made: Callable[[Any], Any] = origin
        return st.lists(drawn(args[0]), max_size=2).map(made)
    if origin is dict:
        return st.dictionaries(drawn(args[0]), drawn(args[1]), max_size=2)
    if origin is not None and not args:
        return drawn(origin)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return struct(hint)
    if origin is not None and str(origin) == "typing.Literal":
        return st.sampled_from(args)
    raise TypeError(f"nothing is drawn for {hint!r}")


def _later(hint: Any) -> st.SearchStrategy[Any]:
    """So that a type may hold itself."""
    return st.deferred(lambda: drawn(hint))


def struct(form: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    """Its required fields, and each other one or its default."""
    required: dict[str, st.SearchStrategy[Any]] = {}
    optional: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(form):
        found = required if field.required else optional
        found[field.name] = _later(field.type)
    return st.fixed_dictionaries(required, optional=optional).map(lambda values: form(**values))


FIRST: Mapping[str, tuple[type[Command], ...]] = {
    "session": (StartSession,),
    "charge_point": (Register,),
    "tenant": (CreateTenant,),
    "tariff": (PutTariff,),
    "remote_command": (RequestRemoteCommand,),
    "delivery": (Want,),
    "partner": (CreatePartner,),
    "token": (PutToken,),
}
"""What an aggregate begins with."""
KINDS: dict[type[Aggregate[Any]], dict[type[Command], Route]] = {}
for _command, _route in registry.ROUTES.items():
    KINDS.setdefault(_route.aggregate, {})[_command] = _route


@pytest.mark.parametrize("kind", KINDS, ids=[kind.kind for kind in KINDS])
@settings(max_examples=tried(60), deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_no_handler_raises_for_what_its_commands_types_allow(
    kind: type[Aggregate[Any]], data: st.DataObject
) -> None:
    routes = KINDS[kind]
    asked = st.sampled_from(list(routes)).flatmap(drawn)
    first = st.sampled_from(FIRST.get(kind.kind, tuple(routes))).flatmap(drawn)
    aggregate: Aggregate[Any] | None = None
    for number, command in enumerate([data.draw(first), *data.draw(st.lists(asked, max_size=6))]):
        again = registry.RULES.commands.decode(raw(command))
        aggregate = aggregate or kind.blank(again.aggregate_id)
        meta = Meta(command_id=str(number), at=NOON + timedelta(seconds=number))
        routes[type(again)].handler(aggregate, again, meta)
        for event in aggregate.collect_events():
            registry.EVENTS.decode(msgspec.json.encode(event))
        aggregate.next_due()
