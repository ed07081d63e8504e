# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The data rows of a run with their identities, so that the records of rollouts can be joined to them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pyarrow as pa
from omegaconf import DictConfig
from tqdm import tqdm
from verl.trainer.ppo.utils import create_rl_dataset

from verl_mapo import names
from verl_mapo.rollout.row_dataset import use_row_dataset
from verl_mapo.training.config_checks import check_columns, check_model, check_rows
from verl_mapo.training.question_id import question_id
from verl_mapo.training.start_checks import data_files, tokenizer_and_processor


class Questions:
    """The rows of ``data.train_files``, as verl gives them to the agent loop.

    Args:
        config: the whole configuration; ``data`` and the model's tokenizer and processor are read.

    Raises:
        ConfigError: a setting, the model or the data cannot be used; see :mod:`verl_mapo.training.config_checks`.

    Attributes:
        files: the paths of the data.
        tokenizer, processor: those of the model, as verl makes them.
    """

    def __init__(self, config: DictConfig):
        self.files = data_files(config, names.TRAIN_FILES)
        self.tokenizer, self.processor = tokenizer_and_processor(config)
        check_model(config, [], self.tokenizer, self.processor)
        use_row_dataset(config)
        most = config.data.get("train_max_samples", -1)
        self.dataset = create_rl_dataset(
            self.files, config.data, self.tokenizer, self.processor, is_train=True, max_samples=most
        )
        check_columns(config, self.dataset.dataframe)
        check_rows(config, self.dataset.dataframe)

    def __len__(self) -> int:
        return len(self.dataset)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows with their :func:`question_id`, under this name; a row that equals an earlier one is left out."""
        seen: set[str] = set()
        for place in range(len(self.dataset)):
            row = self.dataset[place]
            truth = row["reward_model"]["ground_truth"]
            row["question_id"] = question_id(row["data_source"], row["index"], truth, row["raw_prompt"])
            if row["question_id"] not in seen:
                seen.add(row["question_id"])
                yield row | {"place": place}

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """``place`` (in the data) and ``extra_info`` of each row, by its question id."""
        rows = tqdm(self, desc="reading questions", unit="row", total=len(self), leave=False)
        return {row["question_id"]: {name: row[name] for name in ("place", "extra_info")} for row in rows}

    def table(self, places: list[int]) -> pa.Table:
        """Rows as they are in the data, every column, in the order of their places; a place may come twice."""
        return self.dataset.dataframe.with_format("arrow")[places].replace_schema_metadata(None)
