# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What is kept of a validation before verl removes its rollouts from the queue: their records and their audits."""

from __future__ import annotations

import logging
from typing import Any

from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.rollout.trajectory import Trajectory
from verl_mapo.run_folder import append_records, rollouts_file, write_records
from verl_mapo.settings import parse
from verl_mapo.training.audit_metrics import audit_metrics
from verl_mapo.training.records import RecordSettings, describe_rows
from verl_mapo.training.step_batch import StepBatch
from verl_mapo.training.step_checks import check_unreadable

logger = logging.getLogger(__name__)


class ValidationRecords:
    """The rollouts of one validation.

    Args:
        config: the whole configuration.
        number: the global step after which it takes place.
    """

    def __init__(self, config: DictConfig, number: int):
        self.settings, self.tools = parse(RecordSettings, config), parse(VisualToolSettings, config)
        self.folder, self.number = config.trainer.rollout_data_dir, number
        self._records: list[dict[str, Any]] = []
        self._audited: list[tuple[str, float, Trajectory | None]] = []
        self._written = 0

    @property
    def wanted(self) -> bool:
        """Whether anything is kept."""
        return bool(self.folder or self.tools.audit.share)

    def add(self, step: StepBatch) -> None:
        """Keep a batch of the validation, with the fields ``RECORD_FIELDS``.

        Raises:
            RuntimeError: too many of its images cannot be read.
        """
        after = f"the validation after step {self.number}"
        check_unreadable(step, self.tools.max_unreadable, after, names.VAL_FILES)
        if self.tools.audit.share:
            self._audited.extend(step.judged_rollouts())
        if not self.folder:
            return
        found = describe_rows(step, "val", settings=self.settings)
        if self.settings.append:
            append_records(rollouts_file(self.folder, "val", self.number), found)
            self._written += len(found)
            logger.warning("verl-mapo: %d rollouts of the validation are recorded", self._written)
        else:
            self._records.extend(found)

    def finish(self) -> dict[str, float]:
        """Write the records, if that was not done batch by batch; returns the metrics of the audits."""
        if self.folder and not self.settings.append:
            write_records(rollouts_file(self.folder, "val", self.number), self._records)
        return audit_metrics(self._audited)
