# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""TransferQueue over a dictionary, for tests of what is read and written without ray."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transfer_queue as tq
from tensordict import NonTensorStack, TensorDict
from transfer_queue import KVBatchMeta

from verl_mapo.rollout.trajectory import Trajectory


class FakeQueue:
    """The fields of one batch, whose rows keep their order.

    Attributes:
        fields: name to column, as TransferQueue returns columns: jagged or plain tensors, or lists of objects.
        tags: of the rows.
        reads: the names that each call asked for and got.
    """

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.tags: list[dict[str, Any]] = []
        self.reads: list[list[str]] = []

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Take the place of TransferQueue's two synchronous calls."""
        patch.setattr(tq, "kv_batch_get", self.get)
        patch.setattr(tq, "kv_batch_put", self.put)

    def batch(self, keys: list[str], **tags: list[Any]) -> KVBatchMeta:
        """A batch of rows with these keys; ``tags`` gives the values of a tag row by row."""
        self.tags = [{name: values[row] for name, values in tags.items()} for row in range(len(keys))]
        return KVBatchMeta(partition_id="train", keys=keys, tags=self.tags)

    def get(self, keys: list[str], partition_id: str, select_fields: list[str]) -> TensorDict:
        found = {name: self.fields[name] for name in select_fields if name in self.fields}
        self.reads.append(list(found))
        columns = {name: NonTensorStack(*value) if isinstance(value, list) else value for name, value in found.items()}
        return TensorDict(columns, batch_size=len(keys))

    def put(self, keys: list[str], partition_id: str, fields: TensorDict) -> KVBatchMeta:
        self.fields.update({name: fields[name] for name in fields.keys()})
        return KVBatchMeta(partition_id=partition_id, keys=keys, tags=self.tags)


def jagged(rows: list[torch.Tensor]) -> torch.Tensor:
    """Rows of different lengths as one nested tensor."""
    return torch.nested.as_nested_tensor(rows, layout=torch.jagged)


def scored_rows(
    masks: list[torch.Tensor], outcomes: list[float], trajectories: list[Trajectory | None], **extra: list[Any]
) -> dict[str, Any]:
    """Rows as verl's agent loop and log-prob pass leave them in the queue.

    Args:
        masks: the response mask of each row.
        outcomes: the reward of each row, on its last token.
        trajectories: of each row; None for an agent loop without one.
        extra: further entries of ``extra_fields``, row by row.
    """
    rewards = [torch.zeros(len(mask)) for mask in masks]
    for reward, outcome in zip(rewards, outcomes, strict=True):
        reward[-1] = outcome
    fields = [
        {
            "reward_extra_info": {},
            **({} if trajectory is None else {"trajectory": trajectory.to_record()}),
            **{name: values[row] for name, values in extra.items()},
        }
        for row, trajectory in enumerate(trajectories)
    ]
    count = len(masks)
    return {
        "response_mask": jagged([mask.long() for mask in masks]),
        "rm_scores": jagged(rewards),
        "old_log_probs": jagged([torch.zeros(len(mask)) for mask in masks]),
        "extra_fields": fields,
        "raw_prompt": [[{"role": "user", "content": "q"}]] * count,
        "reward_model": [{"ground_truth": "x"}] * count,
        "data_source": ["s"] * count,
        "index": [*range(count)],
    }
