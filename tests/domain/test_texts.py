"""Texts that stand in a value: those that are free to be anything, and nothing else."""

from __future__ import annotations

import msgspec
import pytest

from domain.intents import ListEntry
from domain.texts import shortened, texts, with_texts
from tests.domain.test_intents import SENT, START


def test_the_texts_of_an_intent_are_those_that_are_free() -> None:
    assert list(texts(START)) == [("id_tag", "s1.k.a")]
    assert list(texts(SENT)) == [("id_tag", "A"), ("id_tag", "B")]


def test_texts_are_replaced_wherever_they_stand_and_nothing_else_is() -> None:
    changed = with_texts(SENT, lambda name, text: f"{name}:{text}")
    assert changed == msgspec.structs.replace(
        SENT, local_authorization_list=(ListEntry(id_tag="id_tag:A"), ListEntry(id_tag="id_tag:B"))
    )
    assert with_texts(START, lambda _, text: text) == START


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("abc", "abc"),
        ("abcdef", "abcd"),
        ("\x00\n", "??"),
        ("ääää", "ää"),
        ('""""', '""'),
        ("abc\U0001f50c", "abc"),
    ],
)
def test_of_a_long_text_is_kept_what_takes_so_many_bytes(text: str, kept: str) -> None:
    assert shortened(text, 4) == kept
    assert len(msgspec.json.encode(kept)) <= 4 + len('""')
