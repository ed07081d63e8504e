# Copyright 2026 The verl_mapo authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""The record of one rollout: the only carrier between the loop, the reward, the columns and the report."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from verl_mapo.advantages.mapo import ABSENT, SCORED, UNSCORED


@dataclass
class Turn:
    """One assistant turn.

    Attributes:
        span: half-open positions of its policy tokens on the response axis.
        text: what the model wrote, special tokens removed.
        status: ``answer``, ``cut`` (the turn did not end by itself), ``ok`` (a call that was carried out and shown), or
            what was wrong with the call: ``no_json``, ``two_calls``, ``unknown_tool``, ``bad_arguments``, ``bad_box``,
            ``no_turns_left``, ``no_room`` (its observation would not have fitted).
        tool: name of the tool called, None when the call could not be read.
        label: what the model said it would see; None when it said nothing.
        description: what the model wrote after it saw the observation.
        img_idx: index of the image the call looked at.
        image: index of the original behind it.
        quarter_turns: clockwise turns of the view that was returned.
        box_said: as the model said it, in its own units.
        box_asked: the same box in pixels of the original, before it was clipped and grown.
        box_executed: what was cut, in pixels of the original.
        described: whether this is a visual turn, that is one whose alignment counts.
        faults: why an alignment score is zero without asking the scorer: ``refused`` (no crop), ``no_label``,
            ``long_label``, ``no_description``, ``long_description``.
        label_tokens: tokens of the label (or of the description, where there is no label).
        crop: JPEG bytes of what was cut, for the scorer; dropped before the row is stored.
        score: alignment of label or description and crop; None while unscored.
        observation: the text returned to the model.
    """

    span: tuple[int, int]
    text: str
    status: str = "answer"
    tool: str | None = None
    label: str | None = None
    description: str | None = None
    label_tokens: int = 0
    img_idx: int | None = None
    image: int | None = None
    quarter_turns: int = 0
    box_said: tuple[float, ...] | None = None
    box_asked: tuple[float, ...] | None = None
    box_executed: tuple[int, ...] | None = None
    described: bool = False
    faults: list[str] = field(default_factory=list)
    crop: bytes | None = None
    score: float | None = None
    observation: str = ""

    @property
    def called(self) -> bool:
        """Whether the model tried to call a tool in this turn."""
        return self.status not in ("answer", "cut")

    @property
    def corrected(self) -> bool:
        """Whether the call went wrong and the model was told so."""
        return self.called and self.status != "ok" and bool(self.observation)


@dataclass
class Trajectory:
    """One rollout.

    Attributes:
        images: paths (or other references) of the originals, in order.
        image_sizes: their (width, height) in pixels.
        end_reason: why it ended; see ``verl_mapo.rollout.loop``.
        prefix: tokens of the response that were given rather than sampled (a continuation's prefix).
    """

    images: list[str]
    image_sizes: list[tuple[int, int]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    end_reason: str = ""
    prefix: int = 0

    @property
    def visual_turns(self) -> list[Turn]:
        """The turns whose alignment counts, in order."""
        return [turn for turn in self.turns if turn.described]

    def columns(self, max_turns: int) -> dict[str, torch.Tensor]:
        """The tensor columns of this row; every row of a run has the same shapes.

        Returns:
            ``turn_scores`` (max_turns,) float32, NaN where there is no score; ``turn_status`` (max_turns,) int8 and
            ``turn_spans`` (max_turns, 2) int64 as :func:`verl_mapo.advantages.mapo.mapo_advantage` takes them.
        """
        scores = torch.full((max_turns,), float("nan"), dtype=torch.float32)
        status = torch.full((max_turns,), ABSENT, dtype=torch.int8)
        spans = torch.full((max_turns, 2), -1, dtype=torch.int64)
        for index, turn in enumerate(self.visual_turns[:max_turns]):
            status[index] = UNSCORED if turn.score is None else SCORED
            scores[index] = float("nan") if turn.score is None else turn.score
            spans[index] = torch.tensor(turn.span)
        return {"turn_scores": scores, "turn_status": status, "turn_spans": spans}

    def record(self) -> dict[str, Any]:
        """As plain JSON types, without the crops."""
        record = asdict(self)
        for turn in record["turns"]:
            del turn["crop"]
        return record


COLUMNS = ("turn_scores", "turn_status", "turn_spans")
"""Names of the tensor columns that :meth:`Trajectory.columns` adds to a row."""

TRAJECTORY = "trajectory"
"""Key of the record in ``extra_fields``: a :class:`Trajectory` until it was scored, plain JSON types in the row."""

TURN_SCORES = "turn_scores"
"""Key under which the reward returns the alignment of each visual turn; absent when nothing scores alignment."""
