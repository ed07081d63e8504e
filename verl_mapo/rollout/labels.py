# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that a call has a label, or that the next turn has a description, within the limit of tokens.

A fault is recorded in the turn, whose alignment score is then 0, and the model is told about it.
"""

from __future__ import annotations

from itertools import takewhile, zip_longest
from typing import Any

from verl_mapo.rollout.parser import read_descriptions
from verl_mapo.rollout.settings import Describe
from verl_mapo.rollout.statuses import LabelFault
from verl_mapo.rollout.trajectory import Turn


class LabelChecker:
    """Checks the labels and descriptions that a run asks for.

    Args:
        describe: which of the two the run asks for, see ``visual_tool.describe``.
        max_tokens: largest number of tokens of a label or a description.
        tokenizer: counts the tokens.
    """

    def __init__(self, describe: Describe, max_tokens: int, tokenizer: Any):
        self.describe = describe
        self.max_tokens = max_tokens
        self.tokenizer = tokenizer
        self._sentences = {
            LabelFault.NO_LABEL: "Give a label with every call: what you expect to see in the region.",
            LabelFault.LONG_LABEL: f"Keep the label within {max_tokens} tokens.",
            LabelFault.NO_DESCRIPTION: (
                "Describe the region you were shown last between <description> and </description>."
            ),
            LabelFault.LONG_DESCRIPTION: f"Keep the description within {max_tokens} tokens.",
        }

    def check_label(self, turn: Turn) -> list[str]:
        """Check the label of a visual turn; returns the sentences to tell the model."""
        if self.describe == "after":
            return []
        return self._check(turn, turn.label, LabelFault.NO_LABEL, LabelFault.LONG_LABEL)

    def read_descriptions(self, turns: list[Turn], text: str) -> list[str]:
        """Take the descriptions of the images shown last from the text of a turn, in the order of the images.

        An image without a good description may be described in any turn until another image is shown.

        Args:
            turns: the turns before the one with the text; changed in place.
            text: the text of the turn; empty at the end of a rollout.

        Returns:
            The sentences to tell the model.
        """
        if self.describe == "before":
            return []
        open_turns = [turn for turn in _shown_last(turns) if turn.description is None or self._faults(turn)]
        for turn, description in zip_longest(open_turns, read_descriptions(text)[: len(open_turns)]):
            if description is None and self._faults(turn):
                continue
            turn.description = description
            turn.faults = [fault for fault in turn.faults if not fault.is_of_description]
            self._check(turn, description, LabelFault.NO_DESCRIPTION, LabelFault.LONG_DESCRIPTION)
        return list(dict.fromkeys(self._sentences[fault] for turn in open_turns for fault in self._faults(turn)))

    def read_again(self, turns: list[Turn]) -> None:
        """Take the descriptions of all images from the texts of turns that were copied without them."""
        for index, turn in enumerate(turns):
            if not turn.continues:
                self.read_descriptions(turns[:index], "".join(part.text for part in _assistant_turn(turns, index)))

    def _faults(self, turn: Turn) -> list[LabelFault]:
        return [fault for fault in turn.faults if fault.is_of_description]

    def _check(self, turn: Turn, words: str | None, missing: LabelFault, too_long: LabelFault) -> list[str]:
        tokens = len(self.tokenizer.encode(words, add_special_tokens=False)) if words and words.strip() else 0
        turn.label_tokens = turn.label_tokens or tokens
        if 0 < tokens <= self.max_tokens:
            return []
        fault = too_long if tokens else missing
        turn.faults.append(fault)
        return [self._sentences[fault]]


def _shown_last(turns: list[Turn]) -> list[Turn]:
    """The visual turns among the parts of the last assistant turn that was answered with an image of one."""
    last = next((index for index in reversed(range(len(turns))) if turns[index].shown_for_scoring), None)
    if last is None:
        return []
    first = next(index for index in range(last, -1, -1) if not turns[index].continues)
    return [turn for turn in _assistant_turn(turns, first) if turn.shown_for_scoring]


def _assistant_turn(turns: list[Turn], first: int) -> list[Turn]:
    """The parts of the assistant turn that starts at an index."""
    return [turns[first], *takewhile(lambda turn: turn.continues, turns[first + 1 :])]
