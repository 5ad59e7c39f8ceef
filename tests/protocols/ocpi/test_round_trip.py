"""Decoding and encoding gives back the JSON that entered: every object of both versions, numbers by value."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocols.ocpi import OcpiInvalidError, dump, dump_json, parse, parse_json, v2_2_1, v2_3_0
from protocols.ocpi.types import OcpiModel
from tests.laws import tried
from tests.protocols.ocpi.bodies import bodies, read, same, written

ALL = sorted({*v2_3_0.OBJECTS.values(), *v2_2_1.OBJECTS.values()}, key=lambda m: (m.__name__, m.__module__))


@pytest.mark.parametrize("model", ALL, ids=lambda m: f"{m.__name__}-{m.__module__.split('.')[2]}")
def test_every_object_comes_back_as_it_was_sent(model: type[OcpiModel]) -> None:
    @settings(
        deadline=None,
        max_examples=tried(20),
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ],
    )
    @given(st.data())
    def comes_back(data: st.DataObject) -> None:
        body = data.draw(bodies(model))
        raw = written(body)
        assert same(body, read(raw))

        found = parse(model, raw)

        assert same(read(dump(found)), body)
        assert same(dump_json(found), body)
        assert parse_json(model, dump_json(found)) == found

    comes_back()


def test_numbers_keep_their_value_not_their_spelling() -> None:
    raw = b'{"before_taxes":1e2,"taxes":[{"name":"VAT","amount":0.10000000000000000000000001}]}'
    found = parse(v2_3_0.Price, raw)
    assert found.before_taxes == Decimal(100)
    assert found.taxes[0].amount == Decimal("0.10000000000000000000000001")
    assert same(read(dump(found)), read(raw))


def test_unknown_fields_are_kept_at_every_depth() -> None:
    raw = b'{"location_id":"L","vendor":{"deep":[1,2.5,null,true,{"a":"b"}]},"model_dump":1,"__class__":"x"}'
    assert same(read(dump(parse(v2_3_0.LocationReferences, raw))), read(raw))


@pytest.mark.parametrize("raw", [b"{}", b'{"evse_uids":null}', b'{"evse_uids":[]}'])
def test_null_empty_and_absent_are_alike_for_a_list(raw: bytes) -> None:
    body = b'{"location_id":"L"' + (b"," + raw[1:] if raw != b"{}" else b"}")
    assert parse(v2_3_0.LocationReferences, body).evse_uids == ()


def test_a_list_that_must_have_an_entry_is_never_empty() -> None:
    for value in (b"null", b"[]"):
        raw = b'{"token":"t","url":"https://example.org","roles":' + value + b"}"
        with pytest.raises(OcpiInvalidError, match=r"^roles: "):
            parse(v2_3_0.Credentials, raw)


def test_null_and_absent_are_alike_for_an_optional_field_and_null_is_written_back() -> None:
    absent = parse(v2_3_0.EnergyContract, b'{"supplier_name":"Green"}')
    null = parse(v2_3_0.EnergyContract, b'{"supplier_name":"Green","contract_id":null}')
    assert absent.contract_id is null.contract_id is None
    assert dump(absent) == b'{"supplier_name":"Green"}'
    assert dump(null) == b'{"supplier_name":"Green","contract_id":null}'


def test_taxes_that_are_null_are_not_known() -> None:
    assert dump(parse(v2_3_0.Price, b'{"before_taxes":1,"taxes":null}')) == b'{"before_taxes":1}'
