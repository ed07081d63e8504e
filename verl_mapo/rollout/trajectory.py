# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The record of one rollout, which the loop fills and the reward, the columns, the metrics and the report read."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

import torch

from verl_mapo.columns import ABSENT, SCORED, TURN_COLUMNS, TURN_SCORES, TURN_SPANS, TURN_STATUS, UNSCORED
from verl_mapo.names import ALIGNMENT_SCORES, AUDIT_OUTCOMES, OUTCOME_ERROR
from verl_mapo.rollout.audit_record import Audit
from verl_mapo.rollout.statuses import EndReason, LabelFault, TurnStatus
from verl_mapo.tools.coordinates import View, iou

_LONGEST_ERROR = 500
"""Characters of an exception's message that a record keeps."""


@dataclass
class Turn:
    """One assistant turn, or the part of an assistant turn with several calls that ends with one of them.

    Attributes:
        span: half-open positions of its policy tokens on the response axis.
        text: what the model wrote, special tokens removed.
        status: how it ended, and whether its call was executed.
        continues: whether it continues the assistant turn of the turn before it, which holds an earlier call.
        call_start: position on the response axis of the first token after the call's opening tag; None without a call
            or without that tag.
        after_call: number of tokens that the model wrote after the last call of an assistant turn, its end token left
            out; 0 where they are blank.
        lenient: whether its call was read although it was spelled in another way than the system message shows.
        other_units: the units in which the box or point was probably written, if they are not those of the run.
        tool: name of the tool called; None for a turn without a call of an existing tool.
        label: what the model expects to see, in its own words; None without a label.
        description: what the model wrote in a later turn about the image; None without a description.
        label_tokens: number of tokens of the label, or of the description if there is no label; 0 without both.
        img_idx: index of the image that the call names, among those shown so far; None without a valid call.
        view: the part of an original that the returned image shows; None if no image was returned.
        box_said: the box of the call, or the two numbers of its point, in the model's units; None without either.
        box_asked: the same box in pixels of the original, before it was clipped and grown.
        described: whether this is a visual turn: a call of a scored tool.
        faults: reasons why its alignment is 0 without the scorer being asked.
        pixels: JPEG bytes of the image returned, where the scorer or (``computed``) the report needs them; else None.
        computed: whether a tool drew or computed the image, so that it is not a plain part of an original.
        score: alignment of label or description and image; None while it is not known.
        observation: the text that was returned to the model; empty if none was.
    """

    span: tuple[int, int]
    text: str
    status: TurnStatus = TurnStatus.ANSWER
    continues: bool = False
    call_start: int | None = None
    after_call: int = 0
    lenient: bool = False
    other_units: str | None = None
    tool: str | None = None
    label: str | None = None
    description: str | None = None
    label_tokens: int = 0
    img_idx: int | None = None
    view: View | None = None
    box_said: tuple[float, ...] | None = None
    box_asked: tuple[float, ...] | None = None
    described: bool = False
    faults: list[LabelFault] = field(default_factory=list)
    pixels: bytes | None = None
    computed: bool = False
    score: float | None = None
    observation: str = ""

    @property
    def called(self) -> bool:
        """Whether the model tried to call a tool in this turn."""
        return self.status.is_call

    @property
    def corrected(self) -> bool:
        """Whether the call failed and the model was told why."""
        return self.called and self.status != TurnStatus.OK and bool(self.observation)

    @property
    def shown_for_scoring(self) -> bool:
        """Whether this is a visual turn whose call returned an image."""
        return self.described and self.pixels is not None

    def withdraw(self, status: TurnStatus) -> None:
        """Take back an executed call whose image is not shown to the model: it is no visual turn any more."""
        self.status, self.described, self.pixels = status, False, None

    def without_description(self) -> Turn:
        """A copy that has not been described yet; the loop reads descriptions again from the turns that follow."""
        faults = [fault for fault in self.faults if not fault.is_of_description]
        return replace(
            self, description=None, faults=faults, label_tokens=0 if self.label is None else self.label_tokens
        )

    @property
    def box_executed(self) -> tuple[int, int, int, int] | None:
        """The region that was returned, in pixels of the original; None if no image was returned."""
        return self.view.region if self.view else None

    def to_record(self) -> dict[str, Any]:
        """The turn as plain JSON types; with ``pixels`` only where they cannot be cut out of an original again."""
        record = asdict(self)
        view = record.pop("view")
        kept = (self.pixels or None) if self.computed else None
        return {
            **record,
            "status": self.status.value,
            "faults": [fault.value for fault in self.faults],
            "image": view and view["image"],
            "quarter_turns": view["quarter_turns"] if view else 0,
            "box_executed": view and view["region"],
            "view_size": view and view["size"],
            "pixels": kept and base64.b64encode(kept).decode("ascii"),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Turn:
        """The inverse of :meth:`to_record`, except for pixels that the record leaves out."""
        values = dict(record)
        image, turns, region, size = (
            values.pop(name) for name in ("image", "quarter_turns", "box_executed", "view_size")
        )
        view = None if region is None else View(image, tuple(region), turns, tuple(size))
        pixels = values["pixels"]
        boxes = {name: values[name] and tuple(values[name]) for name in ("box_said", "box_asked")}
        return cls(
            **values
            | boxes
            | {
                "span": tuple(values["span"]),
                "status": TurnStatus(values["status"]),
                "faults": [LabelFault(fault) for fault in values["faults"]],
                "view": view,
                "pixels": pixels and base64.b64decode(pixels),
            }
        )


@dataclass
class Trajectory:
    """One rollout.

    Attributes:
        images: references of the originals, in order: a path, or a hash of the content of a picture that is no file
            (``sha256:...``), see :attr:`verl_mapo.rollout.row_pictures.Picture.reference`.
        image_sizes: their (width, height) in pixels.
        turns: the assistant turns, in order.
        end_reason: the reason why it ended; None while it is running.
        prefix_length: number of response tokens that were given and not sampled, which are a continuation's prefix.
        error: what failed in the code of a tool, of the answer check or of the reward function, in a sentence; empty if
            nothing did. The outcome of a rollout with an error is not known, and the rollout is not trained on.
        node: name of the node on which the images were read, see :func:`verl_mapo.nodes.node_name`; empty in records of
            earlier versions.
        unreadable: which image or message cannot be shown and why, in a sentence that begins with the image's
            reference; empty if all can.
        audit: what the model answers when it is shown something else; None for a rollout that was not audited.
    """

    images: list[str]
    image_sizes: list[tuple[int, int]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    end_reason: EndReason | None = None
    prefix_length: int = 0
    error: str = ""
    node: str = ""
    unreadable: str = ""
    audit: Audit | None = None

    @property
    def assistant_turns(self) -> list[list[Turn]]:
        """The turns grouped by assistant turn, in order."""
        groups: list[list[Turn]] = []
        for turn in self.turns:
            if turn.continues:
                groups[-1].append(turn)
            else:
                groups.append([turn])
        return groups

    @property
    def retries(self) -> int:
        """Number of assistant turns whose calls all failed and that the model could correct."""
        return sum(all(turn.corrected for turn in group) for group in self.assistant_turns)

    @property
    def visual_turns(self) -> list[Turn]:
        """The turns whose alignment is scored, in order."""
        return [turn for turn in self.turns if turn.described]

    @property
    def alignment(self) -> float | None:
        """The mean score of the visual turns that have one; None without any."""
        scores = [turn.score for turn in self.visual_turns if turn.score is not None]
        return fmean(scores) if scores else None

    @property
    def calls(self) -> int:
        """Number of calls of a tool that the model tried, those that failed included."""
        return sum(turn.called for turn in self.turns)

    @property
    def called(self) -> bool:
        """Whether the model tried to call a tool in any turn."""
        return self.calls > 0

    def crop_area(self, turn: Turn) -> float | None:
        """Share of the original that the image of a turn covers; None for a turn without an image."""
        if turn.view is None:
            return None
        x1, y1, x2, y2 = turn.view.region
        width, height = self.image_sizes[turn.view.image]
        return (x2 - x1) * (y2 - y1) / (width * height)

    @property
    def crop_areas(self) -> list[float]:
        """:meth:`crop_area` of each visual turn whose call returned an image."""
        return [self.crop_area(turn) for turn in self.visual_turns if turn.view]

    @property
    def repeat_ious(self) -> list[float]:
        """Largest IoU with an earlier region of the same original, for each visual turn that has an earlier one."""
        views = [turn.view for turn in self.visual_turns if turn.view]
        found = []
        for place, view in enumerate(views):
            earlier = [iou(view.region, other.region) for other in views[:place] if other.image == view.image]
            found += [max(earlier)] if earlier else []
        return found

    def join_scores(self, terms: Mapping[str, Any]) -> bool:
        """Write what the reward manager returned into the record; calling it again changes nothing.

        Args:
            terms: verl's ``reward_extra_info``.

        Returns:
            Whether the terms hold the alignment scores of the visual turns.
        """
        self.error = terms.get(OUTCOME_ERROR) or self.error
        for swap, outcome in zip(self.audit.swaps if self.audit else (), terms.get(AUDIT_OUTCOMES, ()), strict=False):
            swap.outcome = outcome
        scores = terms.get(ALIGNMENT_SCORES)
        if scores is None:
            return False
        for turn, score in zip(self.visual_turns, scores, strict=True):
            turn.score = score
        return True

    def columns(self, length: int) -> dict[str, torch.Tensor]:
        """The tensors of :data:`verl_mapo.columns.TURN_COLUMNS`.

        Args:
            length: their length T, the same in every row of a run.
        """
        scores = torch.full((length,), float("nan"), dtype=TURN_SCORES.dtype)
        status = torch.full((length,), ABSENT, dtype=TURN_STATUS.dtype)
        spans = torch.full((length, 2), -1, dtype=TURN_SPANS.dtype)
        for index, turn in enumerate(self.visual_turns[:length]):
            status[index] = UNSCORED if turn.score is None else SCORED
            scores[index] = float("nan") if turn.score is None else turn.score
            spans[index] = torch.tensor(turn.span)
        return {column.name: tensor for column, tensor in zip(TURN_COLUMNS, (scores, status, spans), strict=True)}

    def to_record(self) -> dict[str, Any]:
        """The trajectory as plain JSON types; see :meth:`Turn.to_record` for its turns."""
        return {
            "images": self.images,
            "image_sizes": self.image_sizes,
            "turns": [turn.to_record() for turn in self.turns],
            "end_reason": self.end_reason.value if self.end_reason else "",
            "prefix_length": self.prefix_length,
            "error": self.error,
            "node": self.node,
            "unreadable": self.unreadable,
            "audit": self.audit and self.audit.to_record(),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Trajectory:
        """The inverse of :meth:`to_record`, except for pixels that the record leaves out."""
        return cls(
            images=list(record["images"]),
            image_sizes=[tuple(size) for size in record["image_sizes"]],
            turns=[Turn.from_record(turn) for turn in record["turns"]],
            end_reason=EndReason(record["end_reason"]) if record["end_reason"] else None,
            prefix_length=record["prefix_length"],
            **{name: record.get(name, "") for name in ("error", "node", "unreadable")},  # earlier versions lack some
            audit=Audit.from_record(record["audit"]) if record.get("audit") else None,
        )


def error_sentence(code: str, error: BaseException) -> str:
    """What :attr:`Trajectory.error` says of an exception.

    Args:
        code: what raised it, such as ``The tool zoom``.
        error: the exception.
    """
    message = " ".join(str(error).split())[:_LONGEST_ERROR].rstrip(".")
    return f"{code} raised {type(error).__name__}{': ' if message else ''}{message}."
