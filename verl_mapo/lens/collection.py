# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The rollouts of a fixed policy with their sketched gradients, as they are kept in a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from verl_mapo.columns import CONTINUATION
from verl_mapo.lens.token_weights import vectors_of
from verl_mapo.run_folder import write_whole
from verl_mapo.settings import ConfigError

TENSORS, MANIFEST = "rollouts.safetensors", "manifest.json"
PART = "step_{}.safetensors"
WEIGHTED, ROW_SCORE, RESAMPLED = "weighted/", "row_score/", "resampled/"
"""Beginnings of the names of the tensors that not every collection has, see :attr:`Collection.further`."""


class Products(NamedTuple):
    """Inner products of some vectors of N rollouts, see :meth:`Collection.products`.

    Attributes:
        among: (N, N) or (2 N, 2 N) float64, of all pairs of vectors.
        with_plain: (N, N) or (2 N, N) float64, with the plain gradients.
    """

    among: Tensor
    with_plain: Tensor


@dataclass(frozen=True)
class Collection:
    """N rollouts of Q questions by one policy, the same number of each, beside which there may be continuations.

    Attributes:
        sketches: (N, M) float32, the sketch of the sum of the gradients of the log-probs of a rollout's policy tokens.
        question: (N,) int64, number of the rollout's question, 0 to Q - 1.
        outcome: (N,) float32, the outcome.
        turn_scores: (N, T) float32, the scores of the described turns.
        turn_status: (N, T) int64, ABSENT, SCORED or UNSCORED of :mod:`verl_mapo.columns`.
        tokens: (N,) int64, number of policy tokens.
        calls: (N,) int64, number of calls.
        manifest: what made them: model, parameters, size and seed of the sketch, questions left out.
        further: by ``weighted/NAME``, (N, M) float32, the sketch of the gradient with the token weights of NAME; by
            ``row_score/NAME``, (N,) float32, the score of a rollout that its group compares, NaN where it has none. Of
            a run of AXPO by ``resampled/NAME``, (N,) int64: ``role`` and ``prefix_id`` as in :mod:`verl_mapo.columns`,
            ``prefix_tokens``, the number of policy tokens in the prefix, and ``step``, which rolled it out.
    """

    sketches: Tensor
    question: Tensor
    outcome: Tensor
    turn_scores: Tensor
    turn_status: Tensor
    tokens: Tensor
    calls: Tensor
    manifest: dict[str, Any]
    further: dict[str, Tensor] = field(default_factory=dict)
    _products: dict[tuple[str, bool], Products] = field(default_factory=dict, init=False, repr=False, compare=False)

    def has(self, weighting: str) -> bool:
        """Whether the gradients of a token weighting were taken; the plain ones, ``""``, always are."""
        return not weighting or WEIGHTED + weighting in self.further

    def products(self, weighting: str = "", and_plain: bool = False) -> Products:
        """The inner products of the gradients of the rollouts.

        Args:
            weighting: their token weighting; "" for the plain gradients.
            and_plain: whether the plain gradients of all rollouts follow those with token weights as further vectors.
        """
        key = weighting, and_plain
        if key not in self._products:
            vectors = self.further[WEIGHTED + weighting] if weighting else self.sketches
            vectors = torch.cat([vectors, self.sketches]) if and_plain else vectors
            among = (vectors @ vectors.T).double()
            known = and_plain or not weighting  # the plain gradients are the last vectors
            with_plain = among[:, -len(self.sketches) :] if known else (vectors @ self.sketches.T).double()
            self._products[key] = Products(among, with_plain)
        return self._products[key]

    def row_score(self, weighting: str) -> Tensor:
        """(N,) float32, the score of each rollout under a token weighting; NaN for the plain gradients."""
        return self.further.get(ROW_SCORE + weighting, torch.full_like(self.outcome, torch.nan))

    def resampled(self, name: str) -> Tensor:
        """(N,) int64, what a run of AXPO keeps of each rollout; 0 in a collection of another run."""
        return self.further.get(RESAMPLED + name, torch.zeros_like(self.question))

    def originals(self) -> Collection:
        """The collection without continuations."""
        original = self.resampled("role") != CONTINUATION
        return self if original.all() else self.at(original)

    def at(self, places: Tensor) -> Collection:
        """The rollouts at some places, int64, or where ``places``, (N,) bool, is true."""
        own = {name: getattr(self, name)[places] for name in tensor_names()}
        return replace(self, **own, further={name: values[places] for name, values in self.further.items()})

    def save(self, folder: Path) -> None:
        """Write the collection; a folder without a manifest is not complete."""
        tensors = {name: getattr(self, name).contiguous() for name in tensor_names()} | self.further
        write_whole(folder / TENSORS, save(tensors))
        write_whole(folder / MANIFEST, json.dumps(self.manifest, indent=1))

    @classmethod
    def load(cls, folder: Path) -> Collection:
        """Read a collection.

        Raises:
            ConfigError: the folder holds none, it is not complete, or it is damaged.
        """
        if not (folder / MANIFEST).is_file():
            raise ConfigError(f"{folder} holds no collection of the lens that is complete: {MANIFEST} is missing.")
        try:
            tensors, manifest = load_file(folder / TENSORS), json.loads((folder / MANIFEST).read_text())
        except (OSError, ValueError, SafetensorError) as error:
            raise ConfigError(
                f"The collection in {folder} cannot be read ({error}): give --run another folder, so that the rollouts "
                "are made again."
            ) from error
        if missing := [name for name in tensor_names() if name not in tensors]:
            raise ConfigError(
                f"{folder} was collected by an earlier version, without {', '.join(missing)}: give --run another "
                "folder, so that the rollouts are made again."
            )
        return cls._of(tensors, manifest)

    @classmethod
    def _of(cls, tensors: dict[str, Tensor], manifest: dict[str, Any]) -> Collection:
        own = {name: tensors[name] for name in tensor_names()}
        return cls(**own, manifest=manifest, further={name: tensors[name] for name in tensors.keys() - own.keys()})

    @classmethod
    def of_parts(cls, folder: Path, rollouts: int, manifest: dict[str, Any]) -> Collection:
        """Join the parts of the steps of a run; questions that lack a rollout or a gradient are left out and counted.

        Args:
            folder: the folder of the parts.
            rollouts: number of rollouts that a question has.
            manifest: what made them; ``left_out`` is added, the number of questions that are left out.

        Raises:
            ConfigError: there is no part, or all questions are left out.
        """
        files = sorted(folder.glob(PART.format("*")), key=lambda file: int(re.findall(r"\d+", file.name)[-1]))
        parts = [load_file(file) for file in files]
        if not parts:
            raise ConfigError(f"{folder} holds no gradients: the run did not get through its first step.")
        begin = 0
        for part in parts:
            part["question"] += begin
            if len(part["question"]):  # there may be a step without any outcome
                begin = int(part["question"].max()) + 1
        joined = cls._of({name: torch.cat([part[name] for part in parts]) for name in parts[0]}, manifest)
        whole = torch.bincount(joined.originals().question, minlength=begin) == rollouts
        vectors = (joined.sketches, *(each for name, each in joined.further.items() if name.startswith(WEIGHTED)))
        whole[joined.question[~torch.cat(vectors, dim=1).isfinite().all(dim=1)]] = False
        if not whole.any():
            raise ConfigError(
                f"No question in {folder} has all of its {rollouts} rollouts with an outcome and a finite gradient."
            )
        kept = joined.at(whole[joined.question])
        numbers = torch.unique(kept.question, return_inverse=True)[1]
        return replace(kept, question=numbers, manifest=manifest | {"left_out": int((~whole).sum())})


def tensor_names() -> list[str]:
    """The names of a collection's tensors."""
    return [each.name for each in fields(Collection) if each.type == "Tensor"]


def write_part(folder: Path, step: int, further: dict[str, Tensor], **tensors: Tensor) -> None:
    """Write the tensors of a collection for the rollouts of one step, whose questions are numbered within the step."""
    tensors = {name: tensors[name] for name in tensor_names()} | further
    write_whole(folder / PART.format(step), save({name: values.contiguous() for name, values in tensors.items()}))


def split_sketches(columns: Tensor, size: int, weightings: Iterable[str]) -> tuple[Tensor, dict[str, Tensor]]:
    """Take the column of :func:`verl_mapo.lens.passes.sketched_step` apart.

    Args:
        columns: (N, M + V (M + 1)) float32, for V vectors with token weights.
        size: M.
        weightings: names of the weightings, in order; each has the vectors of
            :func:`verl_mapo.lens.token_weights.vectors_of`.

    Returns:
        (N, M), the plain sketches, and the tensors of :attr:`Collection.further` for the weightings.
    """
    vectors = [vector for name in weightings for vector in vectors_of(name)]
    plain, *others = columns.split([size, *(size, 1) * len(vectors)], dim=1)
    further: dict[str, Tensor] = {}
    for name, sketch, score in zip(vectors, others[::2], others[1::2], strict=True):
        further |= {WEIGHTED + name: sketch, ROW_SCORE + name: score.squeeze(1).clone()}
    return plain, further
