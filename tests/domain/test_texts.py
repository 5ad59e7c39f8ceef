"""Texts that stand in a value: those that are free to be anything, and nothing else."""

from __future__ import annotations

import msgspec

from domain.intents import ListEntry
from domain.texts import texts, with_texts
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
