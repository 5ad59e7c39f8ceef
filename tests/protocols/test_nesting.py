"""The depth of a text is that of its value, whatever stands in it."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from protocols.nesting import nests_deeper

JSONS = st.recursive(
    st.none() | st.text() | st.text(alphabet='[]{}"\\\\') | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\\\'), inner, max_size=3)
    ),
    max_leaves=30,
)


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max((depth_of(item) for item in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(item) for item in value), default=0)
    return 0


@given(JSONS, st.integers(0, 8))
def test_the_depth_of_a_text_is_that_of_its_value(value: object, depth: int) -> None:
    """Whatever brackets, quotes and backslashes its texts and names hold."""
    assert nests_deeper(json.dumps(value).encode(), depth) == (depth_of(value) > depth)


@given(st.binary())
def test_the_depth_of_what_is_no_json_is_told_too(data: bytes) -> None:
    nests_deeper(data, 0)


def test_no_text_makes_the_depth_cost_more_than_its_length() -> None:
    for text in (b'"' * 900_001, b'"' + b'\\"' * 450_000 + b"\\", b"[]" * 450_000):
        assert nests_deeper(text + b"[", 1) in (True, False)
