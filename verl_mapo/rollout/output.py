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
"""What the loop hands to verl: an agent-loop output whose row carries the trajectory's columns."""

from __future__ import annotations

from typing import Any

from pydantic import PrivateAttr
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from verl_mapo.names import ALIGNMENT_SCORES, TRAJECTORY
from verl_mapo.rollout.state import LoopState
from verl_mapo.rollout.trajectory import Trajectory


class VisualToolOutput(AgentLoopOutput):
    """One rollout on its way into TransferQueue."""

    _state: LoopState = PrivateAttr()
    _max_turns: int = PrivateAttr()

    def __init__(self, state: LoopState, max_turns: int, **fields: Any):
        super().__init__(extra_fields={**state.extra_fields, TRAJECTORY: state.trajectory}, **fields)
        self._state, self._max_turns = state, max_turns

    @property
    def state(self) -> LoopState:
        """Where the rollout ended; what a continuation can be cut from."""
        return self._state

    def as_dict(self) -> dict[str, Any]:
        """The row: verl's fields, the scores joined to their turns, the tensor columns; the crops stay behind."""
        trajectory: Trajectory = self.extra_fields.pop(TRAJECTORY)
        scores = self.extra_fields.get("reward_extra_info", {}).pop(ALIGNMENT_SCORES, None)
        row = super().as_dict()
        if scores is not None:
            for turn, score in zip(trajectory.visual_turns, scores, strict=True):
                turn.score = score
            row |= trajectory.columns(self._max_turns)
        row["extra_fields"][TRAJECTORY] = trajectory.record()
        return row
