# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The batch of one step after the log-prob pass and before the update, as the hooks of the methods read and write it.

Notation: B rows in the order of the batch, L the length of the longest response, T turns.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
import transfer_queue as tq
from tensordict import NonTensorData, TensorDict
from torch import Tensor
from transfer_queue import KVBatchMeta
from verl.workers.utils.padding import response_from_nested, response_to_nested

from verl_mapo.advantages.groups import group_ids
from verl_mapo.columns import Column
from verl_mapo.names import TRAJECTORY
from verl_mapo.rollout.trajectory import Trajectory

_FIELDS = ("extra_fields", "metrics", "rm_scores", "response_mask")
"""Fields of verl that every step reads."""


@dataclass
class StepBatch:
    """The rows of a step.

    :meth:`fetch` reads the queue once. The fields that verl's estimator writes are read once more, when they are first
    needed.

    Attributes:
        batch: verl's keys and tags of the rows.
        number: the global step.
        fields: the fetched fields, as TransferQueue returned them.
        columns: the fetched columns of this package whose rows have one shape, as (B, ...) tensors, by name.
        outcome: (B,) float32, the reward of each row.
        uids: (B,) the uid of each row.
        group: (B,) int64, the number of each row's uid, see :func:`verl_mapo.advantages.groups.group_ids`.
        comparison_group: (B,) int64, the groups within which rows are compared: ``group``, unless a method divides it.
        not_padding: (B,) bool, the row is a rollout and not padding.
        continuation: (B,) bool, the row goes on from a prefix that another rollout sampled.
        loss_mask: (B, L), 1 on the tokens by whose number the loss is divided; None if these are the tokens that the
            loss acts on.
        results: the results of each method, by the method's name, for metrics and records.
    """

    batch: KVBatchMeta
    number: int
    fields: TensorDict
    columns: dict[str, Tensor]
    outcome: Tensor
    uids: list[str]
    group: Tensor
    comparison_group: Tensor
    not_padding: Tensor
    continuation: Tensor
    loss_mask: Tensor | None = None
    results: dict[str, Any] = field(default_factory=dict)
    _latest_of: dict[str, Tensor] = field(default_factory=dict)
    _unread: tuple[str, ...] = ()

    @classmethod
    def fetch(
        cls, batch: KVBatchMeta, number: int, columns: Iterable[Column] = (), fields: Iterable[str] = ()
    ) -> StepBatch:
        """Read a batch from the queue.

        Args:
            batch: verl's keys and tags.
            number: the global step.
            columns: columns of this package to fetch, where the batch has them.
            fields: further fields to fetch.
        """
        wanted = {column.name: column for column in columns}
        names = list(dict.fromkeys([*_FIELDS, *fields, *wanted]))
        data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=names)
        dense = {name: to_dense(data[name]) for name, column in wanted.items() if _is_dense(column, data)}
        uids = uids_of(batch)
        group = group_ids(uids)
        return cls(
            batch=batch,
            number=number,
            fields=data,
            columns=dense,
            outcome=torch.stack([scores.sum() for scores in data["rm_scores"].unbind()]),
            uids=uids,
            group=group,
            comparison_group=group,
            not_padding=not_padding(batch),
            continuation=torch.zeros(len(batch), dtype=torch.bool),
        )

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def original(self) -> Tensor:
        """(B,) bool: the row is an original rollout, neither padding nor a continuation."""
        return self.not_padding & ~self.continuation

    @cached_property
    def judged(self) -> Tensor:
        """(B,) bool: the row is a rollout whose outcome is known; see :attr:`Trajectory.error` for those without."""
        return self.not_padding & torch.tensor([not (found and found.error) for found in self.trajectories])

    def judged_rollouts(self) -> list[tuple[str, float, Trajectory | None]]:
        """Data source, reward and trajectory of each row with a known outcome; ``data_source`` must be fetched."""
        rows = zip(to_list(self.fields["data_source"]), self.outcome.tolist(), self.trajectories, strict=True)
        return [row for row, judged in zip(rows, self.judged.tolist(), strict=True) if judged]

    @cached_property
    def extra_fields(self) -> list[dict[str, Any]]:
        """(B,) verl's ``extra_fields`` of each row."""
        return to_list(self.fields["extra_fields"])

    @cached_property
    def trajectories(self) -> list[Trajectory | None]:
        """(B,) the trajectory of each row; None for a row of an agent loop that records none."""
        records = [extra.get(TRAJECTORY) for extra in self.extra_fields]
        return [None if record is None else Trajectory.from_record(record) for record in records]

    @cached_property
    def calls(self) -> Tensor:
        """(B,) int64: number of calls that the model tried in each row; 0 for a row without a trajectory."""
        return torch.tensor([found.calls if found else 0 for found in self.trajectories])

    def response_values(self, column: Column) -> Tensor | None:
        """A column of S values per row, cut to the response: (B, L), NaN after the end; None if it is missing."""
        if column.name not in self.fields.keys():
            return None
        return response_from_nested(self.fields[column.name], self.fields["response_mask"]).to_padded_tensor(torch.nan)

    def rows(self, name: str) -> Sequence[Tensor]:
        """A field's rows without padding, each as long as its response.

        After verl's estimator has run, ``advantages`` and ``response_mask`` are what it or :meth:`write` wrote last.
        """
        return self._latest(name).unbind()

    def padded(self, name: str) -> Tensor:
        """The same rows as one (B, L) tensor, 0 after the end of a row."""
        return self._latest(name).to_padded_tensor(0)

    def write(self, **values: Tensor) -> None:
        """Write (B, L) tensors to the queue as fields of the rows, cut to the length of each response."""
        layout = self.fields["response_mask"]
        nested = {name: response_to_nested(tensor, layout) for name, tensor in values.items()}
        self._latest_of |= nested
        fields = TensorDict(nested, batch_size=len(self))
        self.batch = tq.kv_batch_put(keys=self.batch.keys, partition_id=self.batch.partition_id, fields=fields)

    def expect_estimate(self, batch: KVBatchMeta) -> None:
        """Record that verl's estimator has run.

        Its advantages, and the response mask, which verl's rollout correction may have changed, are read from the queue
        when they are first needed.

        Args:
            batch: the batch that the estimator returned.
        """
        self.batch = batch
        self._unread = ("advantages", "response_mask")

    def _latest(self, name: str) -> Tensor:
        if name in self._unread:
            names, self._unread = self._unread, ()
            keys, partition_id = self.batch.keys, self.batch.partition_id
            data = tq.kv_batch_get(keys=keys, partition_id=partition_id, select_fields=list(names))
            self._latest_of |= {name: data[name] for name in names}
        return self._latest_of[name] if name in self._latest_of else self.fields[name]


def to_list(column: Iterable[Any]) -> list[Any]:
    """Convert a column of Python objects, as TransferQueue returns it (a NonTensorStack, a list, ...), to a list."""
    return [value.data if isinstance(value, NonTensorData) else value for value in column]


def to_dense(column: Tensor) -> Tensor:
    """Convert a column whose rows have one shape to a plain tensor; the queue may return it nested."""
    return torch.stack(column.unbind()) if column.is_nested else column


def uids_of(batch: KVBatchMeta) -> list[str]:
    """The uid of each row, from keys of the form ``{uid}_{session}_{index}``."""
    return [key.rsplit("_", 2)[0] for key in batch.keys]


def not_padding(batch: KVBatchMeta) -> Tensor:
    """(B,) bool: the row is a rollout and not padding."""
    return torch.tensor([not tag.get("is_padding", False) for tag in batch.tags])


def _is_dense(column: Column, data: TensorDict) -> bool:
    return column.name in data.keys() and not {"S", "R"} & set(column.shape)
