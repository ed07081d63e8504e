# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The interface between a training method and the trainer: settings, checks, estimator, hooks, metrics and records.

A method is one subclass of :class:`Method` in one module. :mod:`verl_mapo.training.methods` lists those of this package
in the order in which the trainer calls their hooks. To use a method of another package, give its dotted path in
``algorithm.adv_estimator``; docs/extending.md has a complete example.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from omegaconf import DictConfig
from torch import Tensor

from verl_mapo import names
from verl_mapo.charts import Alarm, Panel
from verl_mapo.columns import Column
from verl_mapo.settings import ConfigError, parse, select

if TYPE_CHECKING:
    from transfer_queue import KVBatchMeta

    from verl_mapo.lens.estimators import Estimator
    from verl_mapo.lens.token_weights import Factors, Signals
    from verl_mapo.training.step_batch import StepBatch


class Method:
    """Base class of all methods. Every hook does nothing unless a method overrides it.

    The trainer makes one object of each enabled method at the start of a run, and calls the hooks in the order in which
    they are defined here.

    Class attributes:
        name: value of ``algorithm.adv_estimator`` that enables the method, and its key in :attr:`StepBatch.results`.
        Settings: its settings class, with a ``NODE``; None for a method without settings.
        columns: columns that the hooks read from :attr:`StepBatch.columns`; they are fetched if a batch has them.
        required_columns: the columns among them that the advantage needs.
        without_columns: the message if a required column is missing; it names the settings that provide the column.
        fields: further fields of verl that the hooks read from :attr:`StepBatch.fields`.
        record_fields: further fields of a row that :meth:`records` reads.
        record_keys: keys that :meth:`records` may add; a record has all of them, with None where there is no value.
        reads_turns: for an estimator that needs rollouts of this package's agent loop, which records turns.
        kind_column: for a method that adds rows to a batch: the column with the kind of each row. The trainer then
            keeps the number of optimizer steps and gives every mini-batch its share of each kind.
        panels: the plots of its metrics in the report.
        alarms: the alarms on its metrics in the report.

    Args:
        config: the whole hydra configuration.

    Raises:
        ConfigError: a setting is invalid.
    """

    name: ClassVar[str]
    Settings: ClassVar[type | None] = None
    columns: ClassVar[tuple[Column, ...]] = ()
    required_columns: ClassVar[tuple[Column, ...]] = ()
    without_columns: ClassVar[str] = ""
    fields: ClassVar[tuple[str, ...]] = ()
    record_fields: ClassVar[tuple[str, ...]] = ()
    record_keys: ClassVar[tuple[str, ...]] = ()
    reads_turns: ClassVar[bool] = False
    kind_column: ClassVar[Column | None] = None
    panels: ClassVar[tuple[Panel, ...]] = ()
    alarms: ClassVar[tuple[Alarm, ...]] = ()

    def __init__(self, config: DictConfig):
        self.config = config
        self.settings: Any = parse(self.Settings, config) if self.Settings else None

    @classmethod
    def enabled(cls, config: DictConfig) -> bool:
        """Whether a run uses the method: by default when ``algorithm.adv_estimator`` is its name."""
        return select(config, names.ADV_ESTIMATOR) == cls.name

    @property
    def norm_by_std(self) -> bool:
        """verl's ``algorithm.norm_adv_by_std_in_grpo``: whether advantages are divided by the group's spread."""
        return bool(self.config.algorithm.get("norm_adv_by_std_in_grpo", True))

    @classmethod
    def lens_rows(cls) -> list[Estimator]:
        """The method's rows in the table of the gradient lens: each estimator that weighs rollouts, and its placebo."""
        return []

    @classmethod
    def token_factors(cls, signals: Signals) -> Factors:
        """The factors of the tokens' gradients in the lens, for AXPO and a method of :data:`verl_mapo.names.WEIGHING`.

        Settings have their defaults. The log-prob pass calls this for each micro-batch, so that a factor may depend on
        its row alone; what depends on the group or the batch belongs to the weights of :meth:`lens_rows`.
        """
        raise TypeError(f"{cls.__name__} does not define token_factors(), so the lens has no token weights of it")

    def check(self) -> None:
        """Check the configuration before anything is started.

        Raises:
            ConfigError: naming a setting, its value and a valid value.
        """

    def configure(self) -> None:
        """Change settings of verl that the method needs, in ``self.config``."""

    def check_model(self, tokenizer: Any, processor: Any) -> None:
        """Check the model's tokenizer and processor, and keep what later hooks need of them.

        Raises:
            ConfigError: the method cannot work with this model.
        """

    def require_columns(self, step: StepBatch) -> None:
        """Check that a batch has the required columns.

        Raises:
            ConfigError: with :attr:`without_columns`.
        """
        if any(column.name not in step.columns for column in self.required_columns):
            raise ConfigError(self.without_columns)

    def before_log_prob(self, batch: KVBatchMeta) -> KVBatchMeta:
        """Add columns to the queue that the log-prob pass reads; returns the batch with them."""
        return batch

    def log_prob_request(self) -> dict[str, Any]:
        """The requests to the log-prob pass, by key; they are in the batch's ``extra_info`` during that pass only."""
        return {}

    def update_request(self) -> dict[str, Any]:
        """The requests to the update, by key; they are in the batch's ``extra_info`` during the update only."""
        return {}

    def before_advantage(self, step: StepBatch) -> None:
        """Change the batch before the advantage is computed, for example its loss masks."""

    def advantages(self, step: StepBatch, rewards: Tensor, response_mask: Tensor) -> Tensor:
        """Compute the advantages: the hook of a method that is an advantage estimator.

        Args:
            step: the batch; results to be logged or recorded go to ``step.results[self.name]``.
            rewards: (B, L) float32, token-level rewards: the outcome, less verl's KL penalty if
                ``algorithm.use_kl_in_reward`` is set. ``step.outcome`` is the outcome without the penalty.
            response_mask: (B, L), 1 on the tokens that the loss acts on.

        Returns:
            (B, L), 0 where the mask is 0; of any real dtype, which the caller converts to that of ``rewards``.
        """
        raise TypeError(f"{type(self).__name__} does not define advantages(), so it is no advantage estimator")

    def after_advantage(self, step: StepBatch) -> None:
        """Change the advantages that the estimator computed; it may be the estimator of another method or of verl."""

    def metrics(self, step: StepBatch) -> dict[str, float]:
        """Metrics of the step, by full name."""
        return {}

    def records(self, step: StepBatch) -> dict[int, dict[str, Any]]:
        """The keys and values to add to the records of rollouts, by row number; plain JSON types."""
        return {}
