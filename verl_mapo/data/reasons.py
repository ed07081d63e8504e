# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The reasons for which an example of a data set becomes no row."""

from __future__ import annotations

REASONS = {
    "missing_image": "the file of an image does not exist, or the example has no image where its set has one",
    "broken_image": "an image cannot be read: it is cut short, empty, no image, or has too many pixels",
    "thin_image": "one side of an image is more than 200 times as long as the other, which Qwen's processors refuse",
    "image_marks": "the question has another number of <image> than there are images",
    "missing_column": "the example lacks a value that its set publishes",
    "malformed": "a value has another form than its set publishes, or a line is no JSON",
    "tool_text": "the question has instructions of its set, such as <tool_call> or <answer>, that were not removed",
    "empty_question": "the question has no text",
    "empty_answer": "the answer is empty",
    "impossible_answer": "no answer can equal the truth, such as a letter without an option",
    "box_outside": "a region is not inside its image, or has no area",
    "duplicate_id": "an earlier example has the same id",
    "broken_file": "a data file cannot be read further; it counts as the examples that it still holds",
    "video": "the example has a video, and the visual tools work on images",
    "other_tool": "the example needs a tool that there is not, or its dialogue calls one, such as a search or code",
    "unfinished": "the dialogue has no final answer",
    "judged": "no rule can check the answer, and --without-judged is set",
}
"""Every reason with its meaning."""

INTENDED = ("video", "other_tool", "unfinished", "judged")
"""The reasons that are no fault of the data; ``max_left_out`` does not count them."""


LONGEST_DETAIL = 500
"""Number of characters of a detail that are kept, because it may quote a published text of any length."""


FAULTS_OF_VALUES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What code that reads an example raises where a value has another form than it expects; it counts as ``malformed``."""


class LeftOut(Exception):
    """An example becomes no row; it is counted and listed.

    Args:
        reason: a name in :data:`REASONS`.
        detail: what is wrong with this example, in words; cut after :data:`LONGEST_DETAIL` characters.
        examples: number of examples that it stands for; more than 1 for a file that cannot be read further.
    """

    def __init__(self, reason: str, detail: str, examples: int = 1):
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is no reason: use one of {', '.join(REASONS)}")
        detail = detail if len(detail) <= LONGEST_DETAIL else f"{detail[:LONGEST_DETAIL]}..."
        super().__init__(reason, detail)
        self.reason, self.detail, self.examples = reason, detail, examples
