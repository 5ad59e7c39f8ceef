"""The text of a bookmark: it says what it was made of, and nothing else passes for one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from application.live.bookmark import LONGEST, Bookmark, BookmarkError, read_bookmark
from streams.log.layout import Layout
from streams.log.topology import PUBLIC
from tests.laws import tried

ORDER = ("sessions", "cdrs", "tokens", "charge-points", "meter-values")


def test_the_order_of_the_public_topics_grows_at_its_end_only() -> None:
    assert tuple(PUBLIC)[: len(ORDER)] == ORDER


@st.composite
def bookmarks(draw: st.DrawFn) -> Bookmark:
    partitions = draw(st.integers(1, 5))
    count = partitions * len(PUBLIC)
    offsets = draw(st.lists(st.integers(0, 2**60), min_size=count, max_size=count))
    return Bookmark(partitions, offsets)


PLACE = st.integers(0, 10_000)
MOVES = st.lists(st.tuples(PLACE, st.integers(0, 2**60)), max_size=4)


@given(bookmarks(), MOVES)
@examples(max_examples=tried(200), deadline=None)
def test_a_bookmark_is_read_as_it_was_written_however_it_came_about(
    mark: Bookmark, moves: list[tuple[int, int]]
) -> None:
    moved = mark.copy()
    for place, offset in moves:
        moved.text()
        moved.move(place % len(moved.offsets), offset)
    read = read_bookmark(moved.text(), Layout(moved.partitions))

    assert read.offsets == moved.offsets
    assert Bookmark(moved.partitions, moved.offsets).text() == moved.text() == moved.copy().text()
    assert "\n" not in moved.text() and moved.text().isascii()


@given(bookmarks(), PLACE, st.sampled_from("ABCDwxyz0189-_ ~é"))
@examples(max_examples=tried(200), deadline=None)
def test_a_bookmark_that_was_cut_or_changed_is_none(mark: Bookmark, place: int, other: str) -> None:
    text = mark.text()
    place %= len(text)
    for broken in (text[:place], text[:place] + other + text[place + 1 :]):
        try:
            assert read_bookmark(broken, Layout(mark.partitions)).offsets == mark.offsets
        except BookmarkError:
            continue


@pytest.mark.parametrize(
    "text", ["", "A", "====", "nonsense", "é" * 10, "A" * (LONGEST + 1), "AAAAAAE", "\x00"]
)
def test_what_is_no_bookmark_is_refused(text: str) -> None:
    with pytest.raises(BookmarkError):
        read_bookmark(text, Layout(2))


def test_a_bookmark_of_a_log_with_other_partitions_is_refused() -> None:
    with pytest.raises(BookmarkError, match="another log"):
        read_bookmark(Bookmark(3, [1] * 15).text(), Layout(2))


def test_a_topic_that_came_later_is_told_from_its_beginning() -> None:
    before = Bookmark(2, [7] * 8)
    assert read_bookmark(before.text(), Layout(2)).offsets == [7] * 8 + [0] * 2


def test_a_topic_that_a_newer_release_has_is_left_out() -> None:
    newer = Bookmark(2, [7] * 12)
    assert read_bookmark(newer.text(), Layout(2)).offsets == [7] * 10


def test_a_bookmark_fits_into_the_head_of_a_request() -> None:
    assert len(Bookmark(24, [1_000_000] * 24 * len(PUBLIC)).text()) < 500
    assert len(Bookmark(500, [1_000_000] * 500 * len(PUBLIC)).text()) < 11_000
