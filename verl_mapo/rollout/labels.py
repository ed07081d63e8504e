# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Checks that a call has a label, or that the next turn has a description, within the limit of tokens.

A fault is recorded in the turn, whose alignment score is then 0, and the model is told about it.
"""

from __future__ import annotations

from typing import Any

from verl_mapo.rollout.parser import parse_description
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
            LabelFault.NO_DESCRIPTION: ("Describe the region you were shown between <description> and </description>."),
            LabelFault.LONG_DESCRIPTION: f"Keep the description within {max_tokens} tokens.",
        }

    def check_label(self, turn: Turn) -> list[str]:
        """Check the label of a visual turn; returns the sentences to tell the model."""
        if self.describe == "after":
            return []
        return self._check(turn, turn.label, LabelFault.NO_LABEL, LabelFault.LONG_LABEL)

    def check_description(self, turn: Turn, text: str) -> list[str]:
        """Take the description of a visual turn from the text of the next one; returns the sentences for the model.

        Args:
            turn: a visual turn whose call returned an image; changed in place.
            text: the text of the turn that follows it; empty if none follows.
        """
        if self.describe == "before":
            return []
        turn.description = parse_description(text)
        return self._check(turn, turn.description, LabelFault.NO_DESCRIPTION, LabelFault.LONG_DESCRIPTION)

    def _check(self, turn: Turn, words: str | None, missing: LabelFault, too_long: LabelFault) -> list[str]:
        tokens = len(self.tokenizer.encode(words, add_special_tokens=False)) if words and words.strip() else 0
        turn.label_tokens = turn.label_tokens or tokens
        if 0 < tokens <= self.max_tokens:
            return []
        fault = too_long if tokens else missing
        turn.faults.append(fault)
        return [self._sentences[fault]]
