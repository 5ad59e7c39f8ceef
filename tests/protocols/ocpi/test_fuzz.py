"""Random and mutated bodies through every object of both versions; `python -m bench.wire_ocpi --fuzz N` runs more."""

from __future__ import annotations

import pytest

from bench.wire_ocpi import fuzz


@pytest.mark.parametrize("seed", [20261121, 7])
def test_random_bodies_give_an_object_or_a_clear_error_in_bounded_time(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    status = fuzz(4_000, seed)

    told = capsys.readouterr()
    assert (status, told.err) == (0, "")
    assert all(kind in told.out for kind in ("object", "OCPI 2001", "not JSON"))
