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
"""Where a rollout stands between two generations; what a continuation starts from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.tools.image_history import ImageHistory

OLDEST = ("min_global_steps",)
"""What the engine says of the first generation alone, and a continuation keeps of the rollout it goes on from."""


@dataclass
class LoopState:
    """The tokens, images and record of a rollout. The three response lists have one length at every moment.

    Attributes:
        prompt_ids: tokens of the prompt, image placeholders expanded.
        response_ids: everything after the prompt, policy tokens and observations.
        response_mask: 1 on tokens the policy sampled in this rollout.
        response_logprobs: the engine's log-probabilities of the sampled tokens, 0.0 elsewhere.
        gallery: what has been seen.
        trajectory: the record so far.
        turn_start: position on the response axis where the assistant turn under way begins.
        retries: corrective observations given so far.
        request_id: sticks a rollout to one engine.
        extra_fields: what the engine said of the first generation, and the weights' version at the last.
    """

    prompt_ids: list[int]
    gallery: ImageHistory
    trajectory: Trajectory
    response_ids: list[int] = field(default_factory=list)
    response_mask: list[int] = field(default_factory=list)
    response_logprobs: list[float] = field(default_factory=list)
    turn_start: int = 0
    retries: int = 0
    request_id: str = field(default_factory=lambda: uuid4().hex)
    metrics: dict[str, Any] = field(default_factory=dict)
    extra_fields: dict[str, Any] = field(default_factory=dict)

    @property
    def token_ids(self) -> list[int]:
        """Prompt and response, as the engine sees them."""
        return self.prompt_ids + self.response_ids

    def prefix(self, length: int) -> LoopState:
        """A state of its own that continues after the first ``length`` response tokens, which it takes as given.

        The given tokens carry mask 0: they are context of the continuation, not its action. Images are shared, and so
        is the request id, which leads verl's load balancer to the engine that has the prefix in its cache.

        Args:
            length: a position inside an assistant turn, at its start or before its end.

        Raises:
            ValueError: the position lies in an observation or past the end.
        """
        before = [turn for turn in self.trajectory.turns if turn.span[1] <= length]
        current = self.trajectory.turns[len(before) :][:1]
        if not current or length < current[0].span[0]:
            raise ValueError(f"position {length} is not inside an assistant turn of this rollout")
        views = len(self.gallery.wholes) + sum(turn.status == "ok" for turn in before)
        return LoopState(
            prompt_ids=self.prompt_ids,
            gallery=self.gallery.first(views),
            trajectory=replace(self.trajectory, turns=[replace(turn) for turn in before], end_reason="", prefix=length),
            response_ids=self.response_ids[:length],
            response_mask=[0] * length,
            response_logprobs=[0.0] * length,
            turn_start=current[0].span[0],
            retries=sum(turn.corrected for turn in before),
            request_id=self.request_id,
            extra_fields={name: self.extra_fields[name] for name in OLDEST if name in self.extra_fields},
        )
