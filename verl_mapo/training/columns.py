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
"""How columns reach an estimator.

verl's V1 trainer calls a registered estimator with rewards, mask, uid and configuration, and with no other column of
the batch. The trainer subclass (``verl_mapo.training.trainer``) fetches the rest and lays it out here for the time of
the call; the estimator takes it from here, and leaves its intermediate results for the metrics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from tensordict import NonTensorData
from transfer_queue import KVBatchMeta

from verl_mapo.advantages.axpo import AxpoAdvantage
from verl_mapo.advantages.mapo import MapoAdvantage
from verl_mapo.advantages.visual_credit import VisualFactors
from verl_mapo.settings import ConfigError


def plain(column: Iterable[Any]) -> list[Any]:
    """A column of Python objects as TransferQueue returns it (a NonTensorStack, a list, ...) as a list of them."""
    return [value.data if isinstance(value, NonTensorData) else value for value in column]


def uids(batch: KVBatchMeta) -> list[str]:
    """The uid of each row, from keys of the form ``{uid}_{session}_{index}``."""
    return [key.rsplit("_", 2)[0] for key in batch.keys]


def live_rows(batch: KVBatchMeta) -> torch.Tensor:
    """(B,) bool, the rows that are rollouts and not padding."""
    return torch.tensor([not tag.get("is_padding", False) for tag in batch.tags])


def rectangular(column: torch.Tensor) -> torch.Tensor:
    """A column whose rows have one shape as a plain tensor, whatever layout the queue returned."""
    return torch.stack(column.unbind()) if column.is_nested else column


class Credited(NamedTuple):
    """What visual credit was made of; B rows, L response positions.

    Attributes:
        focus: (B, L) float32, NaN where a token has none.
        written: (B, L), 1 on the policy tokens that have a part in it, be they in the loss or not.
        factors: what the advantages were multiplied by.
    """

    focus: torch.Tensor
    written: torch.Tensor
    factors: VisualFactors


@dataclass
class Carrier:
    """The columns of the batch under way, rows in the order of the batch, and what the estimator made of them.

    Attributes:
        columns: by name; see :meth:`verl_mapo.rollout.trajectory.Trajectory.columns` and
            :meth:`verl_mapo.rollout.exploration.Group.columns` for shapes.
        mapo: set by an estimator that weighs alignment.
        axpo: set by ``axpo``.
        credit: set where visual credit was applied.
    """

    columns: dict[str, torch.Tensor]
    mapo: MapoAdvantage | None = None
    axpo: AxpoAdvantage | None = None
    credit: Credited | None = None


_CARRIER: ContextVar[Carrier] = ContextVar("verl_mapo_columns")


@contextmanager
def carrying(columns: dict[str, torch.Tensor]) -> Iterator[Carrier]:
    """Lay columns out for the estimator that is called inside the ``with`` block."""
    carrier = Carrier(columns)
    token = _CARRIER.set(carrier)
    try:
        yield carrier
    finally:
        _CARRIER.reset(token)


def carried(names: Sequence[str], otherwise: str) -> Carrier:
    """The carrier of the batch under way, with all columns of these names.

    Raises:
        ConfigError: ``otherwise``, where the rollouts carry none.
    """
    carrier = _CARRIER.get(None)
    if carrier is None or any(name not in carrier.columns for name in names):
        raise ConfigError(otherwise)
    return carrier
