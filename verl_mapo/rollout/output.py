# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The agent loop's output: verl's class with the rollout's state. Its row also has the record and the turn columns."""

from __future__ import annotations

from typing import Any

from pydantic import PrivateAttr
from torch import Tensor
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput

from verl_mapo.names import ALIGNMENT_SCORES, AUDIT_OUTCOMES, OUTCOME_ERROR, REWARD_TERMS, TRAJECTORY
from verl_mapo.rollout.state import LoopState

_OURS = (ALIGNMENT_SCORES, AUDIT_OUTCOMES, OUTCOME_ERROR)
"""Terms that become part of the trajectory; verl does not see them."""


class VisualToolOutput(AgentLoopOutput):
    """One finished rollout.

    Args:
        state: the state in which the rollout ended.
        max_calls: the largest number of calls of a rollout of the run, which is the length of the columns.
        features: of its images, and its position ids, see :mod:`verl_mapo.rollout.worker_features`.
        fields: the fields of verl's class.
    """

    _state: LoopState = PrivateAttr()
    _max_calls: int = PrivateAttr()
    _features: dict[str, Tensor] = PrivateAttr()

    def __init__(self, state: LoopState, max_calls: int, features: dict[str, Tensor], **fields: Any):
        super().__init__(extra_fields={**state.extra_fields, TRAJECTORY: state.trajectory}, **fields)
        self._state, self._max_calls, self._features = state, max_calls, features

    @property
    def state(self) -> LoopState:
        """The state in which the rollout ended; a continuation starts from a prefix of it."""
        return self._state

    @property
    def features(self) -> dict[str, Tensor]:
        """What verl's worker stores as ``multi_modal_inputs``, and the position ids, which it stores beside them."""
        return self._features

    def join_scores(self) -> bool:
        """Write the alignment scores that the reward manager returned into their turns, and the error of the outcome.

        Returns:
            Whether there are scores. Calling it again changes nothing.
        """
        return self._state.trajectory.join_scores(self.extra_fields.get(REWARD_TERMS, {}))

    def as_dict(self) -> dict[str, Any]:
        """The row of TransferQueue: verl's fields, the record of the trajectory and, if it was scored, its columns.

        The outcome of a rollout with an error is not known, so none of its tokens is trained on.
        """
        scored = self.join_scores()
        extra = dict(self.extra_fields)
        extra.pop(TRAJECTORY)  # pydantic would take it apart, pixels and all
        if REWARD_TERMS in extra:
            terms = extra[REWARD_TERMS]
            extra[REWARD_TERMS] = {name: value for name, value in terms.items() if name not in _OURS}
        mask = [0] * len(self.response_mask) if self._state.trajectory.error else self.response_mask
        row = super(VisualToolOutput, self.model_copy(update={"extra_fields": extra, "response_mask": mask})).as_dict()
        row["extra_fields"][TRAJECTORY] = self._state.trajectory.to_record()
        return row | (self._state.trajectory.columns(self._max_calls) if scored else {})
