# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Settings of supervised training, and the checks of a whole configuration ``sft`` before anything is started."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from omegaconf import DictConfig, OmegaConf
from pydantic import Field, PositiveInt
from pydantic.dataclasses import dataclass

from verl_mapo import names
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import STRICT, ConfigError, parse, select
from verl_mapo.training.dead_settings import Condition, DeadSettings, check_dead_settings
from verl_mapo.training.frozen_tower import FREEZE, check_frozen_tower, check_resumed_tower
from verl_mapo.training.resume_checks import check_resumed_ranks

SFT_NODE = "sft"
MAX_LENGTH, RESPONSE_LENGTH = "data.max_length", names.RESPONSE_LENGTH
MICRO_BATCH, TOKENS, PAD_MODE = "data.micro_batch_size_per_gpu", "data.max_token_len_per_gpu", "data.pad_mode"
ULYSSES = "engine.ulysses_sequence_parallel_size"


@dataclass(frozen=True, config=STRICT)
class SftSettings:
    """Settings of :class:`verl_mapo.coldstart.dataset.SupervisedDataset`.

    Attributes:
        max_left_out: largest share of the rows that may be left out before a run stops at its start, in [0, 1]. They
            are listed in the folder ``replays`` with their reasons [ours: a twentieth, as in ``data convert``].
        refused_calls: what is done with a row in which the loop refuses a call: ``leave_out``, because the model would
            learn to write it; ``keep``, to learn the correction as well [ours: leave_out].
        workers: number of processes that replay the rows before the first step; None for one for each core.
        replays: folder of what was found of each row; None to replay them at every start.
    """

    NODE: ClassVar[str] = SFT_NODE

    max_left_out: Annotated[float, Field(ge=0, le=1)] = 0.05
    refused_calls: Literal["leave_out", "keep"] = "leave_out"
    workers: PositiveInt | None = None
    replays: str | None = None


_POSITIVE = {
    names.PROMPT_LENGTH: 4096,
    RESPONSE_LENGTH: 8192,
    MAX_LENGTH: 12288,
    names.TRAIN_BATCH_SIZE: 128,
    TOKENS: 24576,
    MICRO_BATCH: 1,
    ULYSSES: 1,
    names.NODES: 1,
    names.GPUS_PER_NODE: 1,
    names.TOTAL_EPOCHS: 3,
    names.TOTAL_STEPS: 100,
}
"""Settings of verl that are whole numbers from 1 on, with an example of each."""

_SWITCHES = ("data.use_dynamic_bsz", f"engine.{FREEZE}", "engine.use_orig_params")
_MAY_BE_NULL = (MAX_LENGTH, names.TOTAL_STEPS)

_HERE = Condition("with the data set of this package", lambda config: True)
_NOWHERE = Condition("in verl's sft_trainer, which does not read it", lambda config: True)
_ROW = "a row's columns are prompt, images and turns, see docs/cold_start.md"
_TEMPLATE = "set data.apply_chat_template_kwargs, for example +data.apply_chat_template_kwargs.enable_thinking=true"

_UNREAD = (
    DeadSettings("data", {"messages_key": "messages", "tools_key": "tools"}, _HERE, True, _ROW),
    DeadSettings(
        "data", {"enable_thinking_key": "enable_thinking", "enable_thinking_default": "none"}, _HERE, True, _TEMPLATE
    ),
    DeadSettings("data", {"balance_dp_token": False}, _HERE, True, "remove it, because verl does not read it"),
    DeadSettings(
        "trainer", {"balance_batch": True, "seed": 1}, _HERE, True, "remove it, because verl does not read it"
    ),
)


def check_sft(config: DictConfig) -> None:
    """Check a configuration of SFT so far as neither model nor data are needed.

    Args:
        config: the whole configuration, see ``verl_mapo/config/sft.yaml``.

    Raises:
        ConfigError: naming the setting, its value and a right value.
    """
    parse(SftSettings, config)
    parse(VisualToolSettings, config)
    _check_values(config)
    check_data(config)
    check_dead_settings(config, _UNREAD)
    check_frozen_tower(config, "engine", "engine")
    check_resumed_tower(config, "engine", "checkpoint")
    check_resumed_ranks(config)
    _check_sizes(config)
    if (select(config, names.TEST_FREQ, -1) not in (-1, 0)) and not select(config, names.VAL_FILES):
        raise ConfigError(
            f"trainer.test_freq={config.trainer.test_freq} needs data.val_files, for example "
            "data.val_files=held_out.parquet; or set trainer.test_freq=-1."
        )


def _check_values(config: DictConfig) -> None:
    """Check the switches and the positive whole numbers among verl's settings, with which the other checks reckon."""
    for setting in _SWITCHES:
        if not isinstance(select(config, setting, False), bool):
            raise ConfigError(f"{setting}={select(config, setting)} is refused: it is true or false.")
    sometimes = (TOKENS,) if config.data.use_dynamic_bsz else (MICRO_BATCH,)
    for setting, example in _POSITIVE.items():
        value = OmegaConf.select(config, setting)
        whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        optional = value is None and setting in _MAY_BE_NULL
        if not whole and not optional and (setting in sometimes or setting not in (TOKENS, MICRO_BATCH)):
            shown = "null" if value is None else value
            raise ConfigError(f"{setting}={shown} is refused: it is a whole number from 1 on, such as {example}.")


def check_data(config: DictConfig) -> None:
    """Check what verl's data set would do to the rows and this package's does not.

    Raises:
        ConfigError: naming the setting, its value and a right value.
    """
    if select(config, "data.ignore_input_ids_mismatch"):
        raise ConfigError(
            "data.ignore_input_ids_mismatch=true is refused: verl then trains on dialogues that are rendered message "
            "by message, in which the templates of thinking models delete every thought. Leave it out."
        )
    if select(config, PAD_MODE) != "no_padding":
        raise ConfigError(
            f"{PAD_MODE}={select(config, PAD_MODE)} is refused: verl's engines take rows without padding only. Set "
            f"{PAD_MODE}=no_padding."
        )
    if select(config, "data.truncation", "error") != "error":
        raise ConfigError(
            f"data.truncation={config.data.truncation} is refused: a row that is cut has fewer image tokens than "
            "images. Set data.truncation=error; rows that are too long are left out and counted."
        )
    most = max_length(config)
    needed = config.data.max_prompt_length + config.data.max_response_length
    if most < needed:
        default = ", verl's default," if most == 1024 else ""
        raise ConfigError(
            f"{MAX_LENGTH}={most}{default} is less than {names.PROMPT_LENGTH}={config.data.max_prompt_length} and "
            f"{RESPONSE_LENGTH}={config.data.max_response_length} together, and one image of a megapixel has about "
            f"1280 tokens: leave it out, or set {MAX_LENGTH}={needed} or more."
        )


def max_length(config: DictConfig) -> int:
    """The largest number of tokens of a row: ``data.max_length``, or that of prompt and response if it is null."""
    given = select(config, MAX_LENGTH)
    return config.data.max_prompt_length + config.data.max_response_length if given is None else given


def data_parallel(config: DictConfig) -> int:
    """The number of ranks that each get a part of a batch."""
    return config.trainer.nnodes * config.trainer.n_gpus_per_node // select(config, ULYSSES, 1)


def _check_sizes(config: DictConfig) -> None:
    ranks, parallel = config.trainer.nnodes * config.trainer.n_gpus_per_node, select(config, ULYSSES, 1)
    if ranks % parallel:
        raise ConfigError(f"{ULYSSES}={parallel} does not divide the {ranks} ranks of the run: set it to 1.")
    size, shares = select(config, names.TRAIN_BATCH_SIZE), data_parallel(config)
    if size < shares or size % shares:
        raise ConfigError(
            f"{names.TRAIN_BATCH_SIZE}={size} cannot be shared evenly by {shares} ranks, and verl would drop the rest: "
            f"set it to {-(-size // shares) * shares}."
        )
    micro = select(config, MICRO_BATCH)
    if not config.data.use_dynamic_bsz and (size // shares) % micro:
        raise ConfigError(
            f"{MICRO_BATCH}={micro} does not divide the {size // shares} rows that each rank has of "
            f"{names.TRAIN_BATCH_SIZE}={size}: set it to a divisor, or data.use_dynamic_bsz=true."
        )


def check_rows_fit(config: DictConfig, lengths: list[int]) -> None:
    """Check that there are rows enough for a step, and that a micro-batch has room for the longest.

    Args:
        config: the whole configuration.
        lengths: numbers of tokens of the training rows that are kept.

    Raises:
        ConfigError: with the numbers.
    """
    size = select(config, names.TRAIN_BATCH_SIZE)
    if len(lengths) < size:
        raise ConfigError(
            f"{names.TRAIN_BATCH_SIZE}={size}, but there are {len(lengths)} rows to train on, so there is no whole "
            f"batch: set it to {max(len(lengths), 1)} or less, or give more rows."
        )
    room = select(config, TOKENS) * select(config, ULYSSES, 1)
    longest = max(lengths)
    if config.data.use_dynamic_bsz and longest > room:
        raise ConfigError(
            f"{TOKENS}={select(config, TOKENS)} has no room for the longest row, which has {longest} tokens: set it to "
            f"{-(-longest // select(config, ULYSSES, 1))} or more."
        )
