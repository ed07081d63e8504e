# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The rollouts of a fixed policy with their sketched gradients, as they are kept in a folder."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from verl_mapo.run_folder import write_whole
from verl_mapo.settings import ConfigError

TENSORS, MANIFEST = "rollouts.safetensors", "manifest.json"
PART = "step_{}.safetensors"


@dataclass(frozen=True)
class Collection:
    """N rollouts of Q questions by one policy, the same number of each.

    Attributes:
        sketches: (N, M) float32, the sketch of the sum of the gradients of the log-probs of a rollout's policy tokens.
        question: (N,) int64, number of the rollout's question, 0 to Q - 1.
        outcome: (N,) float32, the outcome.
        turn_scores: (N, T) float32, the scores of the described turns.
        turn_status: (N, T) int64, ABSENT, SCORED or UNSCORED of :mod:`verl_mapo.columns`.
        tokens: (N,) int64, number of policy tokens.
        calls: (N,) int64, number of calls.
        manifest: what made them: model, parameters, size and seed of the sketch, questions left out.
    """

    sketches: Tensor
    question: Tensor
    outcome: Tensor
    turn_scores: Tensor
    turn_status: Tensor
    tokens: Tensor
    calls: Tensor
    manifest: dict[str, Any]

    @cached_property
    def products(self) -> Tensor:
        """(N, N) float64, the inner products of all pairs of gradients."""
        return (self.sketches @ self.sketches.T).double()

    def save(self, folder: Path) -> None:
        """Write the collection; a folder without a manifest is not complete."""
        tensors = {name: getattr(self, name).contiguous() for name in tensor_names()}
        write_whole(folder / TENSORS, save(tensors))
        write_whole(folder / MANIFEST, json.dumps(self.manifest, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Collection:
        """Read a collection.

        Raises:
            ConfigError: the folder holds none, or it is not complete.
        """
        if not (folder / MANIFEST).is_file():
            raise ConfigError(f"{folder} holds no collection of the lens that is complete: {MANIFEST} is missing.")
        tensors = load_file(folder / TENSORS)
        if missing := [name for name in tensor_names() if name not in tensors]:
            raise ConfigError(
                f"{folder} was collected by an earlier version, without {', '.join(missing)}: give --run another "
                "folder, so that the rollouts are made again."
            )
        return cls(**tensors, manifest=json.loads((folder / MANIFEST).read_text()))

    @classmethod
    def of_parts(cls, folder: Path, rollouts: int, manifest: dict[str, Any]) -> Collection:
        """Join the parts that the steps of a run wrote; questions that lack a rollout are left out and counted.

        Args:
            folder: the folder of the parts.
            rollouts: number of rollouts that a question has.
            manifest: what made them; ``left_out`` is added, the number of questions without all their rollouts.

        Raises:
            ConfigError: there is no part, or no question has all its rollouts.
        """
        files = sorted(folder.glob(PART.format("*")), key=lambda file: int(re.findall(r"\d+", file.name)[-1]))
        parts = [load_file(file) for file in files]
        if not parts:
            raise ConfigError(f"{folder} holds no gradients: the run did not get through its first step.")
        begin = 0
        for part in parts:
            part["question"] += begin
            begin = int(part["question"].max()) + 1
        joined = {name: torch.cat([part[name] for part in parts]) for name in tensor_names()}
        whole = torch.bincount(joined["question"]) == rollouts
        kept = whole[joined["question"]]
        if not kept.any():
            raise ConfigError(f"No question in {folder} has all of its {rollouts} rollouts with an outcome.")
        joined = {name: values[kept] for name, values in joined.items()}
        joined["question"] = torch.unique(joined["question"], return_inverse=True)[1]
        return cls(**joined, manifest=manifest | {"left_out": int((~whole).sum())})


def tensor_names() -> list[str]:
    """The names of a collection's tensors."""
    return [each.name for each in fields(Collection) if each.type == "Tensor"]


def write_part(folder: Path, step: int, **tensors: Tensor) -> None:
    """Write the tensors of a collection for the rollouts of one step, whose questions are numbered within the step."""
    write_whole(folder / PART.format(step), save({name: tensors[name].contiguous() for name in tensor_names()}))
