# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The rollouts of a fixed policy with their sketched gradients, as they are kept in a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from verl_mapo.run_folder import write_whole
from verl_mapo.settings import ConfigError

TENSORS, MANIFEST = "rollouts.safetensors", "manifest.json"


@dataclass(frozen=True)
class Collection:
    """N rollouts of Q questions by one policy.

    Attributes:
        sketches: (N, M) float32, the sketch of the sum of the gradients of the log-probs of a rollout's policy tokens.
        question: (N,) int64, number of the rollout's question, 0 to Q - 1.
        outcome: (N,) float32, the outcome.
        turn_scores: (N, T) float32, the scores of the described turns.
        turn_status: (N, T) int64, see :data:`verl_mapo.columns.TURN_STATUS`.
        tokens: (N,) int64, number of policy tokens.
        manifest: what made them: model, block of parameters, size and seed of the sketch, settings.
    """

    sketches: Tensor
    question: Tensor
    outcome: Tensor
    turn_scores: Tensor
    turn_status: Tensor
    tokens: Tensor
    manifest: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write the collection; a folder that is not complete has no manifest."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {each.name: getattr(self, each.name) for each in fields(self) if each.type == "Tensor"}
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / TENSORS)
        write_whole(folder / MANIFEST, json.dumps(self.manifest, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Collection:
        """Read a collection.

        Raises:
            ConfigError: the folder holds none, or it is not complete.
        """
        if not (folder / MANIFEST).is_file():
            raise ConfigError(f"{folder} holds no collection of the lens that is complete: {MANIFEST} is missing.")
        return cls(**load_file(folder / TENSORS), manifest=json.loads((folder / MANIFEST).read_text()))
