"""A charge point is called by what one part of a URL can carry (J-01, J-02)."""

from __future__ import annotations

import pytest

from domain.charge_point.identity import wrong_id


@pytest.mark.parametrize("id", ["CP-1", "RDAM 123", "Säule 5€", "a" * 48, "a.b", "%2F"])
def test_what_a_url_can_carry_is_a_name(id: str) -> None:
    assert wrong_id(id) == ""


@pytest.mark.parametrize("id", ["", "a" * 49, "a/b", "a:b", ".", "..", " a", "a ", "a\nb", "a\x00"])
def test_what_it_cannot_is_none(id: str) -> None:
    assert wrong_id(id)
