# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The checks of labels and descriptions, with a tokenizer of one token per word."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from verl_mapo.rollout.labels import LabelChecker
from verl_mapo.rollout.statuses import LabelFault
from verl_mapo.rollout.trajectory import Turn

WORDS = SimpleNamespace(encode=lambda text, add_special_tokens: text.split())


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
    assert checker("before").check_description(turn, "") == [] and turn.faults == faults


@pytest.mark.parametrize(
    ("text", "description", "faults"),
    [
        ("<description>a dog</description>", "a dog", []),
        ("a dog", None, [LabelFault.NO_DESCRIPTION]),
        ("<description>a very red dog</description>", "a very red dog", [LabelFault.LONG_DESCRIPTION]),
    ],
)
def test_description_is_checked_with_describe_after(text, description, faults):
    turn = Turn((0, 1), "")
    assert checker("after").check_label(turn) == [] and turn.faults == []
    notes = checker("after").check_description(turn, text)
    assert turn.description == description and turn.faults == faults and len(notes) == len(faults)


def test_label_and_description_are_checked_with_describe_both():
    turn = Turn((0, 1), "", label="a red dog")
    both = checker("both")
    assert both.check_label(turn) == both.check_description(turn, "<description>red</description>") == []
    assert turn.label_tokens == 3


def test_every_fault_of_a_text_has_a_sentence_for_the_model():
    assert set(checker("both")._sentences) == set(LabelFault) - {LabelFault.REFUSED}
