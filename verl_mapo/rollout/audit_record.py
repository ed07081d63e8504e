# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What an audit of a rollout found: what the model answers when it is shown something else than it asked to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from verl_mapo.rollout.statuses import EndReason


@dataclass
class Swap:
    """A rollout that goes on from the first look of another one, with other images in the place of those it returned.

    Attributes:
        kind: what was shown instead, see :class:`verl_mapo.rollout.swaps.AuditSettings`.
        source: reference of the picture of which the first replaced image is a part; empty for a blank image.
        box: that part, (x1, y1, x2, y2) in pixels of the picture; None for a blank image.
        reply: the text of the last turn.
        calls: number of calls of tools after the first look.
        end_reason: the reason why it ended.
        error: what failed in the code of a tool or of the answer check, in a sentence; empty if nothing did.
        evidence: log-probability of the right answer directly after the replaced look, in nats; None where the engine
            gives none.
        outcome: the reward; None while it is not known, or because of an error.
    """

    kind: str
    source: str = ""
    box: tuple[int, int, int, int] | None = None
    reply: str = ""
    calls: int = 0
    end_reason: EndReason | None = None
    error: str = ""
    evidence: float | None = None
    outcome: float | None = None


@dataclass
class Audit:
    """The audit of a rollout whose first look is at ``turn``.

    Attributes:
        turn: index of the turn whose call returned the first image.
        evidence: log-probability of the right answer directly after the real look, in nats; None where the engine gives
            none.
        swaps: one for each kind that was possible.
    """

    turn: int
    evidence: float | None = None
    swaps: list[Swap] = field(default_factory=list)

    def to_record(self) -> dict[str, Any]:
        """The audit as plain JSON types."""
        return asdict(self) | {
            "swaps": [asdict(swap) | {"end_reason": swap.end_reason and swap.end_reason.value} for swap in self.swaps]
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Audit:
        """The inverse of :meth:`to_record`."""
        return cls(record["turn"], record["evidence"], [_swap(values) for values in record["swaps"]])


def _swap(values: Mapping[str, Any]) -> Swap:
    reason, box = values["end_reason"], values["box"]
    return Swap(**{**values, "end_reason": reason and EndReason(reason), "box": box and tuple(box)})
