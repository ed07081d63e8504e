# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MED: about 15,000 questions of 12 sources for tool use that pays."""

from __future__ import annotations

import re

from verl_mapo.data.base import Example, LeftOut
from verl_mapo.data.published import Columns, PublishedSet, first_of, question_in, without_last_sentences

_PLAIN = ("extra_info.question",)

_FIRST_SENTENCES = (
    "Please provide a step-by-step explanation of your reasoning.",
    "Break down the problem and solve it step by step.",
    "Guide me through your thought process step by step.",
    "Elaborate your reasoning step by step.",
    "Solve this problem by reasoning through each step.",
    "Provide your reasoning in a detailed, step-by-step manner.",
    "Explain each step of your thought process clearly.",
    "Work through the solution, showing each step.",
    "Start from the basics and explain each step of the process.",
    "Walk me through the reasoning process step by step.",
    "Please solve this by explaining each step of the way.",
    "Take me through your reasoning process, step by step.",
    "Explain the solution in a detailed, sequential manner.",
    "Describe each step in the solution process clearly.",
    "Provide a breakdown of your reasoning, step by step.",
    "Please outline the steps you took to solve this.",
    "Detail your thought process and explain each step.",
    "Walk me through the logic behind your solution step by step.",
    "Step through your reasoning process carefully.",
    "Break down the solution into manageable steps and explain each.",
)
"""The set's sentences about reasoning, one of which stands before a sentence about the format; each is taken as a
whole, because a question may have the same words: ``Find the number of blocks in step 10.``"""

_WHOLE = "|".join(map(re.escape, (*_FIRST_SENTENCES, "reasoning process here", "answer here")))
_FORMAT = (
    r"\\boxed\{(?:LETTER|answer here)?\}|</?(?:think|answer)>|\b(?:image_)?crop_and_zoom(?:_in_tool)?\b"
    rf"|\A(?:{_WHOLE})\s*\Z"
)
"""What a sentence of the set's own has: its empty box, its tags or its tool; or it is one of those above."""


class MED(PublishedSet):
    """About 15,000 questions of 12 sources, whose published tool asks for a label as MAPO does.

    30 parquet shards have ``prompt``, whose system message declares ``image_crop_and_zoom_in_tool``; ``images``;
    ``reward_model`` with ``answer`` (plain), ``ground_truth`` (formatted) and ``verifier``; ``extra_info`` with
    ``question`` (without instructions), ``id`` and ``tools_kwargs``; and ``agent_name``. The question is taken from
    ``extra_info.question`` as it is, or else from the user message without the sentences about format and tool that the
    set's code appends. Answers that are boxes, as those of the sources about user interfaces, are left out: their units
    are not told. That ``images`` holds bytes is inferred.
    """

    name = "MED"
    hub_id = "Med2026/Med_training_data"
    columns = Columns(
        (*_PLAIN, "prompt"),
        ("reward_model.answer", "reward_model.ground_truth"),
        ("images",),
        more=("data_source", "reward_model.verifier", "extra_info.id"),
    )

    instructions = (
        r"You cannot use any tools in this response\.",
        r"Answer the preceding multiple choice question\.",
        r"回答前面的选择题。",
    )

    def question_of(self, example: Example) -> str:
        """See :class:`PublishedSet`; ``extra_info.question`` has no instructions and stays as it is."""
        plain = first_of(example, _PLAIN, None)
        return super().question_of(example) if plain is None else question_in(plain)

    def stripped(self, text: str) -> str:
        """See :class:`PublishedSet`."""
        return without_last_sentences(super().stripped(text), _FORMAT)

    def truths_of(self, example: Example) -> list[str]:
        """See :class:`PublishedSet`."""
        truths = super().truths_of(example)
        if any("bbox" in truth for truth in truths):
            raise LeftOut(
                "impossible_answer", f"the truth is boxes in units that the set does not tell: {truths[0]:.80}"
            )
        return truths
