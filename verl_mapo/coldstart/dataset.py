# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The data set for verl's sft_trainer: rows with assistant turns, replayed through the agent loop.

Tokens, images and features of a row are those that RL feeds to the model for the same trajectory, and the loss is on
the tokens that the model wrote. A row takes part only if the loop does what its turns say; which rows these are is
found once (:mod:`verl_mapo.coldstart.verdicts`). The tensors of a row are made again in every epoch, as by verl's own
data set: the pixels of a row of megapixel images take tens of megabytes, so that those of 40,000 rows fit on no disk,
and cropping and tokenising take less time than the processor does, which has to run in any case.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError
from torch import Tensor
from torch.utils.data import Dataset

from verl_mapo import names
from verl_mapo.coldstart.replay import Replay, Replayer, ReplayFault
from verl_mapo.coldstart.settings import SftSettings, check_data
from verl_mapo.coldstart.verdicts import Verdict, verdicts_of
from verl_mapo.rollout.image_features import POSITION_IDS
from verl_mapo.rollout.row_dataset import UNREADABLE, RowDataset, unreadable_file
from verl_mapo.settings import ConfigError, parse

logger = logging.getLogger(__name__)

TURNS_KEY = "turns"
"""The column with the text of each assistant turn, unless ``data.turns_key`` names another."""


class SupervisedDataset(Dataset):
    """verl's interface of a data set for SFT: ``data.custom_cls`` of the configuration ``sft``.

    Args:
        parquet_files: path or paths of parquet, JSON or JSONL files with the columns prompt, images and turns.
        tokenizer: the model's tokenizer.
        config: the node ``data`` of the whole configuration.
        processor: the model's processor.
        max_samples: number of rows that are read; -1 for all.

    Attributes:
        kept: indices of the rows that take part.
        verdicts: what was found of each row, by its index.

    Raises:
        ConfigError: a setting is invalid, the rows have no turns, or too many rows are left out.
    """

    def __init__(
        self,
        parquet_files: Any,
        tokenizer: Any,
        config: DictConfig,
        processor: Any = None,
        max_samples: int = -1,
    ):
        run = _whole(config)
        check_data(run)
        if processor is None:
            raise ConfigError("model.path has no image processor, which visual tools need: use a Qwen-VL model.")
        self.settings = parse(SftSettings, run)
        self.turns_key = config.get("turns_key", TURNS_KEY)
        try:
            self.rows = RowDataset(parquet_files, tokenizer, config, processor, max_samples)
        except UNREADABLE as error:
            raise unreadable_file(_files(parquet_files), error) from None
        columns = self.rows.dataframe.column_names
        if absent := [key for key in (self.rows.prompt_key, self.turns_key) if key not in columns]:
            raise ConfigError(
                f"{_files(parquet_files)} has no column {absent[0]}; it has {', '.join(columns)}. Rows for SFT "
                "hold the text of each assistant turn: make them with verl-mapo collect, or see docs/cold_start.md."
            )
        self.replayer = Replayer(run, tokenizer, processor)
        self.verdicts: list[Verdict] = verdicts_of(self, run)
        self.kept = [index for index, verdict in enumerate(self.verdicts) if not self.reasons(verdict)]
        self._check_share(_files(parquet_files))

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, item: int) -> dict[str, Any]:
        """One row for verl's engine.

        Args:
            item: position among the rows that are kept.

        Returns:
            ``input_ids`` (L,) int64; ``loss_mask`` (L,) int64, 1 on the tokens that the model wrote; ``position_ids``
            (4, L) int64, or (L,) for a model without M-RoPE; ``multi_modal_inputs``, as in RL.

        Raises:
            RuntimeError: the row is not what it was when its turns were checked.
        """
        index = self.kept[item]
        replayed = self.replay(index)
        if Verdict.of(replayed) != self.verdicts[index]:
            found = [finding.detail for finding in replayed.findings] or [f"it has {len(replayed.token_ids)} tokens"]
            raise RuntimeError(
                f"Row {index} has changed since it was checked at the start of the run: {' '.join(found)} Its images "
                "must stay as they are while the run goes on."
            )
        return tensors(replayed)

    def replay(self, index: int) -> Replay:
        """The replay of a row of the files, kept or not."""
        return self._replay(self.rows[index])

    def verdict(self, index: int) -> Verdict:
        """The verdict on a row of the files; one that cannot be read has the finding ``unreadable_row``.

        Raises:
            ConfigError: a setting is invalid.
        """
        try:
            row = self.rows[index]
        except ConfigError:
            raise
        except Exception as error:  # of any library that reads a row: the forms of wrong values have no end
            fault = ReplayFault.UNREADABLE_ROW
            detail = f"{fault.sentence} {type(error).__name__}: {' '.join(str(error).split()):.200}"
            return Verdict(0, 0, 0, ((fault.value, detail),))
        return Verdict.of(self._replay(row))

    def _replay(self, row: dict[str, Any]) -> Replay:
        return self.replayer.replay(row["raw_prompt"], row[self.turns_key], row.get("extra_info"))

    def reasons(self, verdict: Verdict) -> list[str]:
        """Why a row is left out; empty if it is kept."""
        kept = ("refused_call",) if self.settings.refused_calls == "keep" else ()
        return [reason for reason, _ in verdict.findings if reason not in kept]

    @property
    def lengths(self) -> list[int]:
        """Numbers of tokens of the rows that are kept."""
        return [self.verdicts[index].tokens for index in self.kept]

    def left_out(self) -> dict[str, int]:
        """Number of rows that are left out by the first reason of each."""
        counts: dict[str, int] = {}
        for verdict in self.verdicts:
            for reason in self.reasons(verdict)[:1]:
                counts[reason] = counts.get(reason, 0) + 1
        return counts

    def _check_share(self, files: str) -> None:
        counts, total = self.left_out(), len(self.verdicts)
        if not counts:
            return
        number = sum(counts.values())
        listed = ", ".join(f"{reason} {count}" for reason, count in sorted(counts.items(), key=lambda of: -of[1]))
        place, verdict = next((i, v) for i, v in enumerate(self.verdicts) if self.reasons(v))
        example = f"Row {place}: {next(detail for reason, detail in verdict.findings if reason in counts)}"
        if number > self.settings.max_left_out * total:
            raise ConfigError(
                f"{number} of {total} rows of {files} are left out ({listed}), more than sft.max_left_out="
                f"{self.settings.max_left_out} allows: correct them, or set it to {-(-number * 100 // total) / 100}. "
                f"{example}"
            )
        if os.environ.get("RANK", "0") == "0":
            logger.warning("verl-mapo: %d of %d rows of %s are left out: %s. %s", number, total, files, listed, example)


def tensors(replayed: Replay) -> dict[str, Any]:
    """What verl's engine takes of a row, see :meth:`SupervisedDataset.__getitem__`."""
    features: dict[str, Tensor] = dict(replayed.features)
    positions = features.pop(POSITION_IDS)[0]
    features.pop("mm_token_type_ids", None)  # of the empty text, and read by no model of verl
    return {
        "input_ids": torch.tensor(replayed.token_ids),
        "loss_mask": torch.tensor(replayed.mask),
        "position_ids": positions,
        "multi_modal_inputs": features,
    }


def _whole(data: DictConfig) -> DictConfig:
    """The whole configuration around the node ``data``, which alone verl gives to a data set."""
    with suppress(ConfigKeyError):
        run = OmegaConf.select(data, "..")
        if run is not None and names.VISUAL_TOOL_NODE in run:
            return run
    raise ConfigError(
        "data.custom_cls is the data set of verl_mapo, but the configuration has no node visual_tool: start the run "
        "with verl-mapo sft, or with --config-path pkg://verl_mapo.config --config-name sft."
    )


def _files(given: Any) -> str:
    return given if isinstance(given, str) else ", ".join(given)
