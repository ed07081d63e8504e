# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The checks of labels and descriptions, with a tokenizer of one token per word."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from verl_mapo.rollout.labels import LabelChecker
from verl_mapo.rollout.statuses import LabelFault, TurnStatus
from verl_mapo.rollout.trajectory import Turn

WORDS = SimpleNamespace(encode=lambda text, add_special_tokens: text.split())


def shown(text="", **fields):
    """A visual turn whose image was shown."""
    return Turn((0, 1), text, TurnStatus.OK, described=True, pixels=b"jpeg", **fields)


def checker(describe):
    return LabelChecker(describe, 3, WORDS)


@pytest.mark.parametrize(
    ("label", "faults", "tokens"),
    [("a red dog", [], 3), (None, [LabelFault.NO_LABEL], 0), (" ", [LabelFault.NO_LABEL], 0)]
    + [("a very red dog", [LabelFault.LONG_LABEL], 4)],
)
def test_label_is_checked_with_describe_before(label, faults, tokens):
    turn = Turn((0, 1), "", label=label)
    notes = checker("before").check_label(turn)
    assert turn.faults == faults and turn.label_tokens == tokens and len(notes) == len(faults)
    assert checker("before").read_descriptions([turn], "") == [] and turn.faults == faults


@pytest.mark.parametrize(
    ("text", "description", "faults"),
    [
        ("<description>a dog</description>", "a dog", []),
        ("a dog", None, [LabelFault.NO_DESCRIPTION]),
        ("<description>a very red dog</description>", "a very red dog", [LabelFault.LONG_DESCRIPTION]),
    ],
)
def test_description_is_checked_with_describe_after(text, description, faults):
    turn = shown()
    assert checker("after").check_label(turn) == [] and turn.faults == []
    notes = checker("after").read_descriptions([turn], text)
    assert turn.description == description and turn.faults == faults and len(notes) == len(faults)


def test_label_and_description_are_checked_with_describe_both():
    turn = shown(label="a red dog")
    both = checker("both")
    assert both.check_label(turn) == both.read_descriptions([turn], "<description>red</description>") == []
    assert turn.label_tokens == 3


def test_every_fault_of_a_text_has_a_sentence_for_the_model():
    assert set(checker("both")._sentences) == set(LabelFault) - {LabelFault.REFUSED}


def test_description_may_follow_a_correction_that_asked_for_it():
    """The sentence in the correction of a failed call asks for the description of the image shown last."""
    first, failed = shown(), Turn((1, 2), "", TurnStatus.BAD_BOX, observation="No.")
    labels = checker("after")
    notes = labels.read_descriptions([first], "no words")
    assert first.faults == [LabelFault.NO_DESCRIPTION] and "Describe the region you were shown last" in notes[0]
    assert labels.read_descriptions([first, failed], "<description>a dog</description>") == []
    assert (first.description, first.faults) == ("a dog", [])


def test_image_is_not_described_after_another_was_shown():
    first, second = shown(), shown()
    labels = checker("after")
    labels.read_descriptions([first], "")
    labels.read_descriptions([first, second], "<description>a cat</description>")
    assert first.faults == [LabelFault.NO_DESCRIPTION] and second.description == "a cat"


def test_good_description_is_not_replaced_by_a_later_one():
    turn = shown()
    for text in ("<description>a dog</description>", "<description>a cat</description>"):
        checker("after").read_descriptions([turn], text)
    assert turn.description == "a dog"


def test_long_description_stays_a_fault_until_a_shorter_one_is_given():
    turn, failed = shown(), Turn((1, 2), "", TurnStatus.BAD_BOX, observation="No.")
    labels = checker("after")
    labels.read_descriptions([turn], "<description>a very red dog</description>")
    labels.read_descriptions([turn, failed], "hm")
    assert (turn.description, turn.faults) == ("a very red dog", [LabelFault.LONG_DESCRIPTION])
    labels.read_descriptions([turn, failed, failed], "<description>dog</description>")
    assert (turn.description, turn.faults) == ("dog", [])


def test_images_of_one_turn_are_described_in_order():
    first, failed, third = shown(), Turn((1, 2), "", TurnStatus.BAD_BOX, continues=True), shown(continues=True)
    notes = checker("after").read_descriptions([first, failed, third], "<description>a dog</description>")
    assert (first.description, third.description) == ("a dog", None) and len(notes) == 1
    assert third.faults == [LabelFault.NO_DESCRIPTION] and failed.faults == []


def test_descriptions_of_copied_turns_are_read_again_from_their_texts():
    turns = [shown("one"), shown("<description>a dog</description>"), Turn((1, 2), "no words", TurnStatus.BAD_BOX)]
    checker("after").read_again(turns)
    assert [turn.description for turn in turns] == ["a dog", None, None]
    assert [turn.faults for turn in turns] == [[], [LabelFault.NO_DESCRIPTION], []]
