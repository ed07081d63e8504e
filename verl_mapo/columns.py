# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The contract of the tensor columns that this package adds to a rollout's row, and the codes that they hold.

verl keeps a batch as named columns in TransferQueue. Every row of a batch has the same columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch


class Column(NamedTuple):
    """One column.

    Attributes:
        name: its name in TransferQueue.
        dtype: the dtype of its tensor.
        shape: the shape of one row. ``T`` is the largest number of assistant turns of the run, ``S`` the number of
            tokens of the row, prompt and response, ``R`` that of its response; ``M`` the number of buckets of a sketch.
        meaning: a description of its values.
        writer: dotted path of the function that computes it.
    """

    name: str
    dtype: torch.dtype
    shape: tuple[str, ...]
    meaning: str
    writer: str


_TRAJECTORY = "verl_mapo.rollout.trajectory.Trajectory.columns"
_PROMPT_GROUP = "verl_mapo.rollout.axpo.prompt_group.PromptGroup.columns"

TURN_SCORES = Column(
    "turn_scores",
    torch.float32,
    ("T",),
    "Alignment of each visual turn, from the left in turn order; NaN where a turn is absent or unscored.",
    _TRAJECTORY,
)
TURN_STATUS = Column(
    "turn_status", torch.int8, ("T",), "ABSENT, SCORED or UNSCORED for each entry of turn_scores.", _TRAJECTORY
)
TURN_SPANS = Column(
    "turn_spans",
    torch.int64,
    ("T", "2"),
    "Half-open positions of each visual turn's policy tokens on the response axis; (-1, -1) where absent.",
    _TRAJECTORY,
)
ROLE = Column("role", torch.int8, (), "PLAIN, SOURCE or CONTINUATION.", _PROMPT_GROUP)
PREFIX_LENGTH = Column(
    "prefix_length",
    torch.int64,
    (),
    "Response tokens of a source's prefix, or those that a continuation was given; 0 for a plain row.",
    _PROMPT_GROUP,
)
PREFIX_ID = Column(
    "prefix_id",
    torch.int64,
    (),
    "Session number of the source itself, or of the source that a continuation goes on from; -1 for a plain row.",
    _PROMPT_GROUP,
)
CONFIDENCE = Column(
    "confidence",
    torch.float32,
    (),
    "Mean probability of the first tool call's tokens; NaN without a call and for a continuation.",
    _PROMPT_GROUP,
)
LOST = Column(
    "lost", torch.int64, (), "Number of continuations of this rollout that failed with an exception.", _PROMPT_GROUP
)
EXPLORE_SECONDS = Column(
    "explore_seconds",
    torch.float32,
    (),
    "Seconds from the end of the prompt's last rollout to the end of its last continuation; one value per prompt.",
    _PROMPT_GROUP,
)
VISUAL_FOCUS = Column(
    "visual_focus",
    torch.float32,
    ("S",),
    "Focus score in [0, 1] of each response token, stored one position earlier, like its log-prob; NaN elsewhere.",
    "verl_mapo.training.method_engine.MethodEngine.forward_step",
)
GRADIENT_SKETCH = Column(
    "gradient_sketch",
    torch.float32,
    ("M",),
    "Sketches of the gradient of a row's log-probs, plain and with token weights, and the score of the row for each.",
    "verl_mapo.lens.passes.sketched_step",
)

CHANGED_LOG_PROBS = Column(
    "changed_log_probs",
    torch.float32,
    ("S",),
    "Log-prob of each response token with changed images, stored like verl's own; NaN in a row without images.",
    "verl_mapo.views.passes.viewed_log_probs",
)
PERCEPTION = Column(
    "perception",
    torch.int64,
    ("R",),
    "1 on the policy tokens of the response that write down what is seen, else 0.",
    "verl_mapo.relatives.srpo.PerceptionSpans.of",
)
UNSEEN_LOG_PROBS = Column(
    "unseen_log_probs",
    torch.float32,
    ("S",),
    "Log-prob of each response token without the perception text of its row; NaN in a row without such text.",
    "verl_mapo.views.passes.viewed_log_probs",
)

TURN_COLUMNS = (TURN_SCORES, TURN_STATUS, TURN_SPANS)
"""The columns of a rollout of this package's agent loop whose alignment was scored."""

AXPO_COLUMNS = (ROLE, PREFIX_LENGTH, PREFIX_ID, CONFIDENCE, LOST, EXPLORE_SECONDS)
"""The columns of a rollout under AXPO."""

COLUMNS = (*TURN_COLUMNS, *AXPO_COLUMNS, VISUAL_FOCUS, GRADIENT_SKETCH, CHANGED_LOG_PROBS, PERCEPTION, UNSEEN_LOG_PROBS)
"""Every column that this package adds."""

ABSENT, SCORED, UNSCORED = 0, 1, 2
"""Codes of TURN_STATUS: no visual turn; a visual turn with a score; a visual turn that the scorer failed on."""

PLAIN, SOURCE, CONTINUATION = 0, 1, 2
"""Codes of ROLE: a rollout without continuations; one with continuations; a continuation of a source's prefix."""

ROLE_NAMES = {PLAIN: "plain", SOURCE: "source", CONTINUATION: "resample"}
"""The codes of ROLE and the words for them in records."""

CORRECT = 1.0 - 1e-6
"""Smallest outcome that counts as a correct answer: 1 with a margin for float32 rounding."""
