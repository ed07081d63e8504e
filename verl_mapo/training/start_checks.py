# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The checks of a run that need no cluster, in the order of what they cost: settings, files, tokenizer, rows.

The trainer makes the same checks once more, for launchers that do not call this module.
"""

from __future__ import annotations

import importlib.util
import logging
from glob import glob
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, disable_progress_bars, load_dataset
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from verl.utils.config import omega_conf_to_dataclass

from verl_mapo import names
from verl_mapo.hub import check_reachable
from verl_mapo.machine import FLASH_ATTENTION, flash_attention_fault, flash_attention_remedy
from verl_mapo.rollout.row_dataset import UNREADABLE, unreadable_file
from verl_mapo.settings import ConfigError, local_path, select
from verl_mapo.training.config_checks import check_columns, check_config, check_model, check_rows, uses_this_package
from verl_mapo.training.engines import check_packages
from verl_mapo.training.methods import enabled_methods
from verl_mapo.training.row_checks import check_steps

logger = logging.getLogger(__name__)

FORMATS = {".parquet": "parquet", ".json": "json", ".jsonl": "json"}
"""What verl reads, by the end of a file's name."""

VERL_DATA = ("~/data/rlhf/gsm8k/train.parquet", "~/data/rlhf/gsm8k/test.parquet")
"""The files that verl takes where a run sets none."""

_EXAMPLES = {
    names.TRAIN_FILES: "train.parquet",
    names.VAL_FILES: "test.parquet",
    names.MODEL_PATH: "Qwen/Qwen2.5-VL-7B-Instruct",
}

_MODULES = {
    names.DATA_CLASS_PATH: "pkg://verl_mapo.rollout.row_dataset",
    names.CUSTOM_REWARD_FUNCTION: "pkg://verl_mapo.rewards.compute_score",
}
"""The settings that give a file or a module with code of the user, and a module of this package for each."""


def check_start(config: DictConfig) -> None:
    """Check a run before anything is started. A run that uses nothing of this package is left to verl.

    Args:
        config: the whole configuration.

    Raises:
        ConfigError: naming the setting, its value and a valid value.
    """
    if not uses_this_package(config):
        return
    check_given(config, *_EXAMPLES)
    check_config(config)
    check_packages(config)
    check_attention(config, names.ATTENTION)
    for setting in _MODULES:
        check_code_file(config, setting)
    train, val = (data_files(config, setting) for setting in (names.TRAIN_FILES, names.VAL_FILES))
    check_model(config, [method(config) for method in enabled_methods(config)], *tokenizer_and_processor(config))
    if not code_of_user_reads_rows(config):
        datasets = [data_rows(files) for files in (train, val) if files]
        check_columns(config, *datasets)
        if datasets:
            check_rows(config, *datasets)
        if train:
            check_steps(config, rows_drawn(config, len(datasets[0])))


def code_of_user_reads_rows(config: DictConfig) -> bool:
    """Whether a module of the user may read the data in a run, so that its rows may be of any kind."""
    code = [select(config, path, "") for path in names.IMPORTED_LATER]
    return any(path and f"{names.PACKAGE}." not in path for path in code)


def check_given(config: DictConfig, *settings: str) -> None:
    """Check that settings of data and model are set, for which a recipe has no value.

    Args:
        config: the whole configuration.
        settings: dotted paths.

    Raises:
        ConfigError: with those that are not.
    """
    missing = [path for path in settings if OmegaConf.select(config, path, throw_on_missing=False) is None]
    if missing:
        examples = " ".join(f"{path}={_EXAMPLES[path]}" for path in missing)
        raise ConfigError(f"{' and '.join(missing)} must be set, for example {examples}.")


def check_code_file(config: DictConfig, setting: str) -> None:
    """Check that a file of Python code, or a module of this package, is there. Neither is imported.

    Args:
        config: the whole configuration.
        setting: dotted path of the setting, which verl reads with ``load_module``.

    Raises:
        ConfigError: it is not there.
    """
    path = str(select(config, setting) or "")
    if not path:
        return
    if not path.startswith("pkg://"):
        if not Path(path.removeprefix("file://")).is_file():
            raise ConfigError(f"{setting}={path} does not exist on this machine: give the path of a Python file.")
        return
    module = path.removeprefix("pkg://").replace("/", ".")
    try:
        found = not module.startswith(f"{names.PACKAGE}.") or importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if not found:
        raise ConfigError(
            f"{setting}={path} is refused: {names.PACKAGE} has no module {module}; give one that it has, such as "
            f"{_MODULES[setting]}."
        )


def check_attention(config: DictConfig, setting: str) -> None:
    """Check that flash_attn can be imported where this machine has a GPU and the run needs it.

    Args:
        config: the whole configuration.
        setting: dotted path of the setting that chooses the attention.

    Raises:
        ConfigError: with the way to get it.
    """
    import torch

    chosen = select(config, setting, FLASH_ATTENTION)
    if chosen == FLASH_ATTENTION and torch.cuda.is_available() and (fault := flash_attention_fault()):
        raise ConfigError(
            f"{setting}={chosen}, verl's default, needs flash_attn, which is {fault}: {flash_attention_remedy()}"
        )


def data_files(config: DictConfig, setting: str) -> list[str]:
    """The files and patterns of a setting that are on this machine's file systems; a warning names the others.

    Raises:
        ConfigError: the list is empty, which only a dataset of the user can use; see also :func:`check_given`
            and :func:`check_data_file`.
    """
    check_given(config, setting)
    given = select(config, setting)
    listed = [file.removeprefix("file://") for file in ([given] if isinstance(given, str) else given)]
    if not listed and not select(config, names.DATA_CLASS_PATH):
        raise ConfigError(f"{setting}=[] names no file: give one, for example {setting}={_EXAMPLES[setting]}.")
    if remote := [file for file in listed if "://" in file]:
        logger.warning("The rows of %s=%s are not on this machine, so that no start check reads them.", setting, remote)
    files = [file for file in listed if "://" not in file]
    for file in files:
        check_data_file(f"{setting}={file}", file)
    return files


def check_data_file(given: str, file: str) -> None:
    """Check that verl reads a file by the end of its name, and that it is there.

    Args:
        given: the setting or option with its value, for the message.
        file: a path, or a pattern of paths.

    Raises:
        ConfigError: it does not exist, is a folder, or is of another kind.
    """
    path = local_path(file)
    if path.is_dir():
        raise ConfigError(f"{given} is a folder: give a file, such as {Path(file) / 'train.parquet'}.")
    if not path.exists() and not any(Path(found).exists() for found in glob(str(path))):
        whose = ", verl's default," if file in VERL_DATA else ""
        raise ConfigError(f"{given}{whose} does not exist on this machine, where the trainer reads it: give a file.")
    if path.suffix not in FORMATS:
        raise ConfigError(f"{given} is refused: verl reads .parquet, .json and .jsonl.")


def data_rows(files: list[str]) -> Dataset:
    """The rows of files as verl reads them, before long prompts are left out; the trainer reads the same cache.

    Raises:
        ConfigError: a file is empty, has no rows, is cut short, or of another format than its name says.
    """
    disable_progress_bars()
    return concatenate_datasets([_rows_of(local_path(file)) for file in files])


def rows_drawn(config: DictConfig, rows: int) -> int:
    """The number of training rows that verl draws from a number of rows: ``data.train_max_samples`` at most."""
    most = config.data.get("train_max_samples", -1)
    return min(rows, most) if most > 0 else rows


def _rows_of(file: Path) -> Dataset:
    try:
        return load_dataset(FORMATS[file.suffix], data_files=str(file))["train"]
    except (*UNREADABLE, ValueError, OSError) as error:  # ValueError: no rows
        raise unreadable_file(file, error) from None


def tokenizer_and_processor(config: DictConfig, setting: str = names.MODEL_PATH) -> tuple[Any, Any]:
    """verl's tokenizer and processor of the model.

    Args:
        config: the whole configuration.
        setting: dotted path of the model's path; the node around it holds verl's settings of the model.

    Raises:
        ConfigError: there is no such model, or the hub cannot be reached.
    """
    path = select(config, setting)
    check_reachable(setting, str(path))
    try:
        model = omega_conf_to_dataclass(OmegaConf.select(config, setting.rpartition(".")[0]))
    except InstantiationException as error:  # hydra's, around any error of verl and transformers
        reason = str(error.__cause__ or error).strip().partition("\n")[0].rstrip(".")
        if found := reason.partition("Expect only one architecture, got ")[2]:  # verl's words
            raise ConfigError(
                f"{setting}={path} cannot be loaded: `architectures` in its config.json is {found}. Write one there, "
                'such as ["Qwen2_5_VLForConditionalGeneration"], or give the folder of a whole model.'
            ) from None
        raise ConfigError(
            f"{setting}={path} gives no tokenizer: {reason}. Set it to the folder of a model, or to its name on the "
            "Hugging Face hub."
        ) from None
    return model.tokenizer, model.processor
