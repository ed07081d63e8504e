# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's V1 trainers with this package's methods in every step, and the rollouts written to the run folder."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import transfer_queue as tq
from omegaconf import DictConfig
from tensordict import TensorDict
from transfer_queue import KVBatchMeta
from verl.trainer.ppo.v1 import PPOTrainer
from verl.trainer.ppo.v1.trainer_base import TRAINER_REGISTRY
from verl.utils.checkpoint.checkpoint_manager import get_checkpoint_tracker_filename
from verl.utils.profiler import simple_timer

from verl_mapo import names
from verl_mapo.columns import Column
from verl_mapo.driver_threads import use_threads
from verl_mapo.rollout.context_length import warn_of_long_prompts
from verl_mapo.rollout.row_dataset import PathDataset, RowDataset, use_row_dataset
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.run_folder import rollouts_file, write_records, write_whole
from verl_mapo.settings import parse, select
from verl_mapo.training.agent_workers import set_agent_workers
from verl_mapo.training.audited_questions import AuditedQuestions
from verl_mapo.training.checkpoint_room import CheckpointRoom
from verl_mapo.training.collection import collection_paused
from verl_mapo.training.config_checks import check_columns, check_config, check_model, check_rows, uses_this_package
from verl_mapo.training.estimators import estimating, register_estimator
from verl_mapo.training.finite_checks import FiniteChecks
from verl_mapo.training.going_on import going_on
from verl_mapo.training.methods import enabled_methods, estimator_method
from verl_mapo.training.minibatches import stratified_order
from verl_mapo.training.records import RECORD_FIELDS, RecordSettings, describe_rows
from verl_mapo.training.rollout_metrics import rollout_metrics
from verl_mapo.training.row_checks import check_steps
from verl_mapo.training.scorer_actors import scorer_actors
from verl_mapo.training.start_checks import check_given
from verl_mapo.training.step_batch import StepBatch, to_dense
from verl_mapo.training.step_checks import check_errors, check_lost, check_tokens, check_unreadable
from verl_mapo.training.validation import ValidationRecords

logger = logging.getLogger(__name__)

PADDING = -1
"""The kind of a padding row, beside the codes of a method's kind column."""


class VisualTrainer(PPOTrainer):
    """The methods of this package in verl's trainer; :func:`extend` mixes this class into each of verl's trainers.

    :meth:`_compute_advantage` states the order of a step.

    Args:
        config: the whole hydra configuration.

    Raises:
        ConfigError: the configuration is invalid.

    Attributes:
        methods: the enabled methods, in the order in which their hooks are called.
        estimator: the method among them whose estimator computes the advantages; None where verl's own does.
        records: the rollouts of the current step, for ``trainer.rollout_data_dir``.
        unmarked: what verl tells its checkpoint callback about a saved checkpoint that is not marked as the latest yet.
        prompts: number of prompts of the current update, each with ``rollout.n`` rollouts; 0 where that is not so.
    """

    unmarked: dict[str, Any] | None = None
    prompts: int = 0

    def __init__(self, config: DictConfig):
        use_threads()
        check_given(config, names.TRAIN_FILES, names.VAL_FILES)
        check_config(config)
        keep_marked_checkpoint(config)
        use_row_dataset(config)
        set_agent_workers(config)
        self.use_methods(config)
        for method in self.methods:
            method.configure()
        super().__init__(config)

    def use_methods(self, config: DictConfig) -> None:
        """Make the enabled methods and register the estimator of a method from another package."""
        self.methods = [method(config) for method in enabled_methods(config)]
        chosen = estimator_method(config)
        self.estimator = next((method for method in self.methods if type(method) is chosen), None)
        if self.estimator is not None:
            register_estimator(select(config, names.ADV_ESTIMATOR))
        self.records: list[dict[str, Any]] = []

    def init(self) -> None:
        """Start the scorer's actors, if the scorer runs in actors, and then verl's workers."""
        # Ray ends an actor with its first handle, so the trainer keeps that one for as long as the run lasts.
        self.scorers = scorer_actors(self.config)
        super().init()

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        check_model(self.config, self.methods, self.tokenizer, self.processor)

    def _init_dataloader(self) -> None:
        super()._init_dataloader()
        check_columns(self.config, self.train_dataset.dataframe, self.val_dataset.dataframe)
        check_steps(self.config, len(self.train_dataset))
        most_images = check_rows(self.config, self.train_dataset.dataframe, self.val_dataset.dataframe)
        if most_images:
            warn_of_long_prompts(self.config, most_images, self.processor)
        for dataset in (self.train_dataset, self.val_dataset):
            if isinstance(dataset, PathDataset):
                dataset.check_files()
        audit = parse(VisualToolSettings, self.config).audit
        if audit.share and isinstance(self.val_dataset, RowDataset):
            self.val_dataset.audited = AuditedQuestions(audit.share)

    @cached_property
    def finite_checks(self) -> FiniteChecks:
        """The checks of rewards, advantages and updates; a batch that fails them is written beside the checkpoints."""
        folder = Path(self.config.trainer.default_local_dir) / "not_finite"
        return FiniteChecks(folder.absolute(), parse(VisualToolSettings, self.config).max_nonfinite_updates)

    def _step_once(self, metrics: dict, timing_raw: dict, sample_batch_size: int) -> KVBatchMeta:
        """Run verl's update, and check its loss and its gradient while the batch is in the queue."""
        if "__rollout_n__" not in self.train_dataset.dataframe.column_names:  # verl's column of rollouts for each row
            self.prompts = sample_batch_size
        batch = super()._step_once(metrics, timing_raw, sample_batch_size)
        self.finite_checks.check_update(batch, self.global_steps, metrics)
        return batch

    @collection_paused()
    def _compute_advantage(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Compute the advantages, metrics and records of a step in this order, which recipes/all/README.md explains."""
        step = self._fetch(batch)
        settings = parse(VisualToolSettings, self.config)
        if self.prompts:
            n = self.config.actor_rollout_ref.rollout.n
            metrics.update(check_lost(step, self.prompts, n, settings.max_errors))
        check_errors(step, settings.max_errors)
        check_unreadable(step, settings.max_unreadable, f"step {step.number}", names.TRAIN_FILES)
        check_tokens(step)
        for method in self.methods:
            method.before_advantage(step)
        with estimating(step, self.estimator) if self.estimator else nullcontext():
            batch = super()._compute_advantage(batch, metrics)
        step.expect_estimate(batch)
        for method in self.methods:
            method.after_advantage(step)
        self.finite_checks.check_advantages(step, metrics)
        metrics.update(rollout_metrics(step))
        for method in self.methods:
            metrics.update(method.metrics(step))
        if self.config.trainer.rollout_data_dir:
            self.records += describe_rows(step, "train", self.methods, parse(RecordSettings, self.config))
        return step.batch

    def _fetch(self, batch: KVBatchMeta) -> StepBatch:
        columns = [column for method in self.methods for column in method.columns]
        fields = [field for method in self.methods for field in method.fields]
        if self.config.trainer.rollout_data_dir:
            fields += [*RECORD_FIELDS, *(field for method in self.methods for field in method.record_fields)]
        return StepBatch.fetch(batch, self.global_steps, columns, fields)

    @collection_paused()
    def _compute_metrics(self, *args: Any, **kwargs: Any) -> None:
        super()._compute_metrics(*args, **kwargs)

    @collection_paused()
    def _compute_old_log_prob(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Run verl's log-prob pass with the requests of the methods; no other pass gets them."""
        for method in self.methods:
            batch = method.before_log_prob(batch)
        requests = [method.log_prob_request() for method in self.methods]
        return with_requests(super()._compute_old_log_prob, requests, batch, metrics)

    def _validate(self) -> dict[str, float]:
        """Run verl's validation, and keep its records and audits before verl removes its rollouts from the queue."""
        kept = ValidationRecords(self.config, self.global_steps)
        if not kept.wanted:
            return super()._validate()
        sample = self.replay_buffer.sample

        def sample_and_keep(**kwargs: Any) -> tuple[KVBatchMeta, dict]:
            batch, metrics = sample(**kwargs)
            kept.add(StepBatch.fetch(batch, self.global_steps, fields=RECORD_FIELDS))
            return batch, metrics

        with patched_attribute(self.replay_buffer, "sample", sample_and_keep):
            metrics = super()._validate()
        return metrics | kept.finish()

    def _log_rollout_data(self, batch: KVBatchMeta, timing_raw: dict, rollout_data_dir: str) -> None:
        """Write the records of the step, and verl's dump of all texts only where a record has no trajectory.

        A trajectory has the texts of its rollout; to decode all of them again takes verl 25 to 40 s of 8192 rollouts.
        """
        if any(record["trajectory"] is None for record in self.records):
            super()._log_rollout_data(batch, timing_raw, rollout_data_dir)
        with simple_timer("dump_rollout_generations", timing_raw):
            self._write("train", self.records)
        self.records = []

    def _write(self, split: str, records: list[dict[str, Any]]) -> None:
        file = rollouts_file(self.config.trainer.rollout_data_dir, split, self.global_steps)
        write_records(file, records)

    # verl marks a checkpoint as the latest before it validates, records and logs the step. A run that was killed in
    # between would go on after that step, without its metrics and rollouts. Here the mark comes last: a step whose
    # metrics and rollouts are not all on the disk is done again.

    @cached_property
    def checkpoint_room(self) -> CheckpointRoom:
        """The disk on which checkpoints are written."""
        trainer = self.config.trainer
        return CheckpointRoom(Path(trainer.default_local_dir).absolute(), trainer.max_actor_ckpt_to_keep)

    def _load_checkpoint(self) -> None:
        """Load as verl does, and say whether the run takes the course that it would have taken without the stop."""
        super()._load_checkpoint()
        if self.global_steps:
            logger.warning("verl-mapo: %s", going_on(self.config, self.global_steps))

    def _save_checkpoint(self) -> None:
        """Save as verl does, if there is room, but leave mark and checkpoint callback to :meth:`_mark_checkpoint`.

        verl leaves the mark to others where ``async_save`` is set, and logs that it does.
        """
        checkpoint = self.config.actor_rollout_ref.actor.checkpoint
        if checkpoint.async_save:  # Megatron's workers mark such a checkpoint, whenever it is complete
            super()._save_checkpoint()
            return
        saved: list[dict[str, Any]] = []
        callback = SimpleNamespace(on_save=lambda **event: saved.append(event))
        with (
            self.checkpoint_room.saving(self.global_steps),
            patched_attribute(self, "checkpoint_callback", callback),
            patched_attribute(checkpoint, "async_save", True),
        ):
            super()._save_checkpoint()
        (self.unmarked,) = saved

    def _mark_checkpoint(self) -> None:
        """Mark the checkpoint of the step that has ended as the latest, and call the checkpoint callback."""
        if self.unmarked is None:
            return
        for dump in self._dump_futures:
            dump.result()
        if file_logger := self.logger.logger.get("file"):
            os.fsync(file_logger.fp.fileno())
        mark = Path(get_checkpoint_tracker_filename(self.config.trainer.default_local_dir))
        write_whole(mark, str(self.unmarked["global_step"]))
        event, self.unmarked = self.unmarked | {"async_save": False}, None
        self.checkpoint_callback.on_save(**event)

    def on_step_begin(self) -> None:
        """Mark the checkpoint of the step before, whose metrics verl has logged by now."""
        self._mark_checkpoint()
        super().on_step_begin()

    def _shutdown_dump_executor(self) -> None:
        """Mark the checkpoint of the last step: verl calls this method when the last metrics are logged."""
        super()._shutdown_dump_executor()
        self._mark_checkpoint()

    # For batches to which a method has added rows: the number of mini-batches is given instead of their size.

    @property
    def kind_column(self) -> Column | None:
        """The column with the kind of each row, if a method adds rows to a batch; else None."""
        return next((method.kind_column for method in self.methods if method.kind_column), None)

    @property
    def optimizer_steps(self) -> int:
        """Number of mini-batches of one update. It depends on the prompts of a step and not on the added rows."""
        prompts = self.config.data.train_batch_size // self.parameter_sync_step
        return math.ceil(prompts / self.config.actor_rollout_ref.actor.ppo_mini_batch_size)

    def _get_required_batch_multiple(self, dp_size: int) -> int:
        """Rows divide evenly into ranks, mini-batches and, where verl cuts by rows and not by tokens, micro-batches."""
        if self.kind_column is None:
            return super()._get_required_batch_multiple(dp_size)
        model = self.config.actor_rollout_ref
        in_mini_batch = 1 if model.actor.use_dynamic_bsz else model.actor.ppo_micro_batch_size_per_gpu
        passes = [model.rollout, *([model.ref] if self.use_reference_policy else ())]
        rows = [node.log_prob_micro_batch_size_per_gpu for node in passes if not node.log_prob_use_dynamic_bsz]
        return dp_size * math.lcm(self.optimizer_steps * in_mini_batch, *rows)

    def _balance_batch(self, batch: KVBatchMeta, metrics: dict, **options: Any) -> KVBatchMeta:
        batch = super()._balance_batch(batch, metrics, **options)
        if (column := self.kind_column) is not None:
            data = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=[column.name])
            codes = to_dense(data[column.name]).tolist()
            kinds = [PADDING if tag.get("is_padding") else code for tag, code in zip(batch.tags, codes, strict=True)]
            ranks = max(self.actor_rollout_wg._dispatch_info["actor"]) + 1
            batch.reorder(stratified_order(kinds, ranks, self.optimizer_steps))
        return batch

    def _update_actor(self, batch: KVBatchMeta, metrics: dict) -> KVBatchMeta:
        """Run verl's update with the requests of the methods.

        If a method adds rows, the number of mini-batches is fixed, and ``global_batch_size`` counts original rollouts.
        """
        requests = [method.update_request() for method in self.methods]
        if self.kind_column is None:
            return with_requests(super()._update_actor, requests, batch, metrics)
        update = self.actor_rollout_wg.update_actor

        def update_by_number(batch: KVBatchMeta) -> TensorDict:
            del batch.extra_info["mini_batch_size"]
            batch.extra_info["num_mini_batch"] = self.optimizer_steps
            return update(batch)

        with patched_attribute(self.actor_rollout_wg, "update_actor", update_by_number):
            return with_requests(super()._update_actor, requests, batch, metrics)


def keep_marked_checkpoint(config: DictConfig) -> None:
    """Raise a limit of one checkpoint to two: verl would remove the marked checkpoint before the next one is marked.

    verl has two checkpoints on the disk while it saves under either limit, so the disk must have room for two anyway.
    """
    trainer = config.trainer
    if trainer.get("remove_previous_ckpt_in_save"):
        trainer.remove_previous_ckpt_in_save = False
        trainer.max_actor_ckpt_to_keep = trainer.max_critic_ckpt_to_keep = 1
    for setting in ("max_actor_ckpt_to_keep", "max_critic_ckpt_to_keep"):
        if trainer[setting] == 1:
            logger.warning(
                "trainer.%s=1 is raised to 2: a checkpoint is kept until the metrics and rollouts of the next "
                "checkpoint's step are on the disk, so that a killed run can go on.",
                setting,
            )
            trainer[setting] = 2


def with_requests(
    run: Callable[[KVBatchMeta, dict], KVBatchMeta], requests: list[dict[str, Any]], batch: KVBatchMeta, metrics: dict
) -> KVBatchMeta:
    """Run a stage of verl's step on a batch whose ``extra_info`` holds requests during that stage only."""
    request = {key: value for each in requests for key, value in each.items()}
    batch.extra_info.update(request)
    after = run(batch, metrics)
    for each in (batch, after):
        for key in request:
            each.extra_info.pop(key, None)
    return after


@contextmanager
def patched_attribute(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute of an object inside the ``with`` block.

    Args:
        owner: the object, which verl uses.
        name: the name of the attribute.
        value: the value inside the block.
    """
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def extend(stock: type[PPOTrainer]) -> type[PPOTrainer]:
    """Make a subclass of one of verl's trainers. Runs that use this package get it; other runs get ``stock`` itself.

    verl's registry holds classes, and main_ppo calls ``trainer_cls(config=config)``: the configuration is first known
    when an object is made, so the choice is made in ``__new__``.
    """

    class Extended(VisualTrainer, stock):
        def __new__(cls, config: DictConfig) -> PPOTrainer:
            return super().__new__(cls) if uses_this_package(config) else stock(config)

    Extended.__name__ = Extended.__qualname__ = f"Visual{stock.__name__}"
    return Extended


def extend_all() -> None:
    """Extend every trainer in verl's registry under its own name, so that the methods work in every trainer mode."""
    for name, stock in TRAINER_REGISTRY.items():
        if not issubclass(stock, VisualTrainer):
            TRAINER_REGISTRY[name] = extend(stock)


extend_all()
