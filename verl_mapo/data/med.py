# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MED: about 15,000 questions of 12 sources for tool use that pays."""

from __future__ import annotations

from verl_mapo.data.base import Example, LeftOut
from verl_mapo.data.published import Columns, PublishedSet, without_last_sentences

_FORMAT = r"\\boxed\{|</?(?:think|answer)>|crop_and_zoom|\bsteps?\b|\breasoning\b|thought process|cannot use any tools"
"""What the sentences say that the set appends to its questions, as its code has them."""


class MED(PublishedSet):
    """About 15,000 questions of 12 sources, whose published tool asks for a label as MAPO does.

    30 parquet shards have ``prompt``, whose system message declares ``image_crop_and_zoom_in_tool``; ``images``;
    ``reward_model`` with ``answer`` (plain), ``ground_truth`` (formatted) and ``verifier``; ``extra_info`` with
    ``question`` (without instructions), ``id`` and ``tools_kwargs``; and ``agent_name``. The question is taken from
    ``extra_info.question``, or else from the user message without its sentences about format and tool. Answers that are
    boxes, as those of the sources about user interfaces, are left out: their units are not told. That ``images`` holds
    bytes is inferred.
    """

    name = "MED"
    hub_id = "Med2026/Med_training_data"
    columns = Columns(
        ("extra_info.question", "prompt"),
        ("reward_model.answer", "reward_model.ground_truth"),
        ("images",),
        more=("data_source", "reward_model.verifier", "extra_info.id"),
    )

    def stripped(self, text: str) -> str:
        """See :class:`PublishedSet`."""
        return without_last_sentences(text, _FORMAT)

    def truths_of(self, example: Example) -> list[str]:
        """See :class:`PublishedSet`."""
        truths = super().truths_of(example)
        if any("bbox" in truth for truth in truths):
            raise LeftOut(
                "impossible_answer", f"the truth is boxes in units that the set does not tell: {truths[0]:.80}"
            )
        return truths
