# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The state of a rollout between two generations, from which a continuation can start."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from verl_mapo.rollout.statuses import TurnStatus
from verl_mapo.rollout.swaps import Swapper
from verl_mapo.rollout.trajectory import Trajectory, Turn
from verl_mapo.tools.image_history import ImageHistory

_INHERITED = ("min_global_steps",)
"""Fields of the engine's output that only the first generation sets, so that a continuation inherits them."""


@dataclass
class LoopState:
    """The tokens, images and record of a rollout. The three response lists always have the same length.

    Attributes:
        prompt_ids: tokens of the prompt, image placeholders expanded.
        history: the images shown so far.
        trajectory: the record so far.
        messages: the messages of the prompt, as the model is shown them; an image is a part ``{"type": "image"}``.
        response_ids: all tokens after the prompt, policy tokens and observations.
        response_mask: 1 on tokens that the policy sampled in this rollout.
        response_logprobs: the engine's log-probabilities of the sampled tokens, 0.0 elsewhere.
        turn_start: position on the response axis at which the current assistant turn begins.
        retries: number of failed calls that were corrected so far.
        request_id: verl's load balancer sends all generations with the same id to the same engine.
        metrics: verl's timings and counts of the rollout: seconds of ``generate_sequences`` and ``tool_calls``, and
            ``num_preempted``.
        extra_fields: the engine's fields of the first generation; ``max_global_steps`` is that of the last.
        swapper: replaces every image that a tool returns, in an audit; None otherwise.
    """

    prompt_ids: list[int]
    history: ImageHistory
    trajectory: Trajectory
    messages: list[dict[str, Any]] = field(default_factory=list)
    response_ids: list[int] = field(default_factory=list)
    response_mask: list[int] = field(default_factory=list)
    response_logprobs: list[float] = field(default_factory=list)
    turn_start: int = 0
    retries: int = 0
    request_id: str = field(default_factory=lambda: uuid4().hex)
    metrics: dict[str, Any] = field(default_factory=dict)
    extra_fields: dict[str, Any] = field(default_factory=dict)
    swapper: Swapper | None = None

    @property
    def token_ids(self) -> list[int]:
        """Prompt and response, as the engine sees them."""
        return self.prompt_ids + self.response_ids

    def prefix(self, prefix_length: int) -> LoopState:
        """The state of a continuation, which is given the first ``prefix_length`` response tokens.

        The given tokens have mask 0: they are context of the continuation, not its action. Images are shared. The
        request id is kept, so that verl's load balancer chooses the engine that has the prefix in its cache.

        Args:
            prefix_length: a position inside an assistant turn, at its start or before the end of its first call.

        Raises:
            ValueError: the position lies in an observation or past the end.
        """
        before = [turn for turn in self.trajectory.turns if turn.span[1] <= prefix_length]
        current = self.trajectory.turns[len(before) :][:1]
        if not current or current[0].continues or prefix_length < current[0].span[0]:
            raise ValueError(f"position {prefix_length} is not inside the first call of an assistant turn")
        shown = len(self.history.originals) + sum(turn.status is TurnStatus.OK for turn in before)
        trajectory = replace(self.trajectory, turns=[*map(Turn.without_description, before)])
        return LoopState(
            prompt_ids=self.prompt_ids,
            history=self.history.first(shown),
            trajectory=replace(trajectory, end_reason=None, prefix_length=prefix_length),
            messages=self.messages,
            response_ids=self.response_ids[:prefix_length],
            response_mask=[0] * prefix_length,
            response_logprobs=[0.0] * prefix_length,
            turn_start=current[0].span[0],
            retries=trajectory.retries,
            request_id=self.request_id,
            extra_fields={name: self.extra_fields[name] for name in _INHERITED if name in self.extra_fields},
        )
