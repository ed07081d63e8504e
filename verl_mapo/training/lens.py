# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The gradient lens in the trainer: requests the sketches of the rows' gradients and writes them beside the outcomes.

It changes nothing in a batch, so that any estimator may train beside it. The command ``verl-mapo lens`` runs it with a
policy that is not updated.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from omegaconf import DictConfig
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from verl_mapo import names
from verl_mapo.advantages.axpo import in_prefix
from verl_mapo.columns import GRADIENT_SKETCH, PREFIX_ID, PREFIX_LENGTH, ROLE, TURN_SCORES, TURN_STATUS
from verl_mapo.lens.collection import RESAMPLED, split_sketches, write_part
from verl_mapo.settings import STRICT, ConfigError, select
from verl_mapo.training.engine_table import STRATEGY, ULYSSES, sequence_parallel, uses_fsdp
from verl_mapo.training.method import Method

if TYPE_CHECKING:
    from transfer_queue import KVBatchMeta

    from verl_mapo.training.step_batch import StepBatch


@dataclass(frozen=True, config=STRICT)
class LensSettings:
    """What is measured of the rollouts of a run.

    Attributes:
        folder: where the sketches are written; None measures nothing.
        size: buckets of a sketch, M. The standard error of a cosine is about sqrt(1 / M): 0.008 for 16,384 [ours].
        seed: seed of the sketch; collections with other seeds cannot be compared.
        layers: number of last decoder layers whose trainable linear layers are measured; None for all [ours].
        token_weights: estimators to measure that weigh tokens (:data:`verl_mapo.names.WEIGHING`), with default
            settings; each takes two more backward passes, for its factors and for its placebo's, and a further pass for
            each view that it compares. None for that of the run's own method, if it is one of them [ours].
    """

    NODE: ClassVar[str] = names.LENS_NODE

    folder: str | None = None
    size: PositiveInt = 16384
    seed: int = 0
    layers: PositiveInt | None = None
    token_weights: list[Literal[names.WEIGHING]] | None = None


class Lens(Method):
    """Writes the sketched gradient of every rollout into ``lens.folder``, a file a step."""

    name = names.LENS
    Settings = LensSettings
    columns = (GRADIENT_SKETCH, TURN_SCORES, TURN_STATUS, ROLE, PREFIX_ID, PREFIX_LENGTH)
    settings: LensSettings

    @classmethod
    def enabled(cls, config: DictConfig) -> bool:
        """Whether a run has a folder for sketches."""
        return select(config, f"{names.LENS_NODE}.folder") is not None

    def check(self) -> None:
        """Check that the run has a log-prob pass of the training engine, with whole rows on each GPU."""
        folder = f"{names.LENS_NODE}.folder={self.settings.folder}"
        if select(self.config, names.BYPASS_MODE, False):
            raise ConfigError(f"{folder} needs a log-prob pass: set {names.BYPASS_MODE}=false.")
        if not uses_fsdp(self.config):
            raise ConfigError(
                f"{folder} is refused with {STRATEGY}={select(self.config, STRATEGY)}, whose engine gives no "
                f"gradients of single rows: set {STRATEGY}=fsdp2 or fsdp."
            )
        if sequence_parallel(self.config) > 1:
            raise ConfigError(
                f"{folder} is refused where GPUs share a sequence: set {ULYSSES}=1, and {names.LENS_NODE}.layers to a "
                "small number if the memory does not suffice."
            )
        for method in self._weighing:
            self._check_columns(method)

    def _check_columns(self, method: Method) -> None:
        """Check that the run's own method does not write a column of a token weighting with other settings."""
        writes = type(method).before_log_prob is not Method.before_log_prob
        if writes and method.enabled(self.config) and type(method)(self.config).settings != method.settings:
            raise ConfigError(
                f"{names.LENS_NODE}.token_weights={self._token_weights} is refused with {method.Settings.NODE}.* other "
                f"than their defaults, with which the lens measures {method.name}: leave {method.name} out of "
                f"{names.LENS_NODE}.token_weights, or do not set {method.Settings.NODE}."
            )

    @property
    def _token_weights(self) -> list[str]:
        """The token weightings that are measured, each once; in a run of AXPO, that of its prefixes comes first."""
        estimator = select(self.config, names.ADV_ESTIMATOR)
        credited = {names.VGPO} if select(self.config, f"{names.VISUAL_CREDIT_NODE}.enable") else set()
        asked = self.settings.token_weights
        if asked is None:
            asked = [name for name in names.WEIGHING if name in {estimator, *credited}]
        return list(dict.fromkeys([*([names.AXPO] if estimator == names.AXPO else []), *asked]))

    @cached_property
    def _weighing(self) -> list[Method]:
        """The methods of the token weightings, with default settings."""
        from verl_mapo.training.methods import find_method  # which imports this module

        found = [find_method(name)(self.config) for name in self._token_weights]
        for method in found:
            method.settings = method.Settings()
        return found

    def check_model(self, tokenizer: Any, processor: Any) -> None:
        """Let the methods of the token weightings keep what their requests need of the model.

        Raises:
            ConfigError: the model has no image tokens.
        """
        for method in self._weighing:
            method.check_model(tokenizer, processor)

    def before_log_prob(self, batch: KVBatchMeta) -> KVBatchMeta:
        """Write the columns that the token weightings read and that the run's own method has not written."""
        for method in self._weighing:
            if not method.enabled(self.config):
                batch = method.before_log_prob(batch)
        return batch

    def log_prob_request(self) -> dict[str, Any]:
        """The request that :func:`verl_mapo.lens.passes.sketched_step` answers.

        Its ``weights`` are, by name of a weighting, what the method itself asks of the log-prob pass.
        """
        settings = self.settings
        request = {"size": settings.size, "seed": settings.seed, "layers": settings.layers}
        return {
            GRADIENT_SKETCH.name: request | {"weights": {each.name: each.log_prob_request() for each in self._weighing}}
        }

    def after_advantage(self, step: StepBatch) -> None:
        """Write what the lens needs of the rollouts whose outcome is known.

        Raises:
            ConfigError: the log-prob pass gave no sketches.
        """
        if GRADIENT_SKETCH.name not in step.columns:
            raise ConfigError(
                "The log-prob pass gave no gradients, which the lens needs: they come from verl's fsdp or fsdp2 engine "
                "on NVIDIA and AMD GPUs and on the CPU stack (`verl-mapo doctor` shows what is registered)."
            )
        known = step.judged
        nothing = torch.zeros(len(step), 1)
        mask = step.fields["response_mask"].to_padded_tensor(0)  # that of the pass; a method may have changed it since
        plain, further = split_sketches(
            step.columns[GRADIENT_SKETCH.name][known], self.settings.size, self._token_weights
        )
        write_part(
            Path(self.settings.folder),
            step.number,
            further | {RESAMPLED + name: values[known] for name, values in resampled(step, mask).items()},
            sketches=plain,
            question=torch.searchsorted(step.group[step.not_padding].unique(), step.group)[known],
            outcome=step.outcome[known],
            turn_scores=step.columns.get(TURN_SCORES.name, nothing)[known],
            turn_status=step.columns.get(TURN_STATUS.name, nothing)[known].long(),
            tokens=mask.sum(dim=1).long()[known],
            calls=step.calls[known],
        )


def resampled(step: StepBatch, mask: Tensor) -> dict[str, Tensor]:
    """What a collection keeps of a step of AXPO (:attr:`verl_mapo.lens.collection.Collection.further`); else nothing.

    Args:
        step: the step.
        mask: (B, L), 1 on the policy tokens of its rows.
    """
    if ROLE.name not in step.columns:
        return {}
    prefix = in_prefix(step.columns[PREFIX_LENGTH.name], mask.shape[1])
    return {
        "role": step.columns[ROLE.name].long(),
        "prefix_id": step.columns[PREFIX_ID.name],
        "prefix_tokens": (mask * prefix).sum(dim=1).long(),
        "step": torch.full((len(step),), step.number),
    }
