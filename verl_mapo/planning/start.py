# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The lines of a plan about what the start of the run would refuse on this machine."""

from __future__ import annotations

from collections.abc import Iterator

from omegaconf import DictConfig, OmegaConf

from verl_mapo import names
from verl_mapo.planning.run import GIVE_DATA, Line
from verl_mapo.settings import ConfigError
from verl_mapo.training.config_checks import check_columns, check_config, check_model, check_rows, uses_this_package
from verl_mapo.training.methods import enabled_methods
from verl_mapo.training.start_checks import code_of_user_reads_rows, data_files, data_rows, tokenizer_and_processor


def start_lines(config: DictConfig) -> Iterator[Line]:
    """What ``verl-mapo train`` would say here of settings, model and rows, up to the first that it refuses.

    Packages such as flash-attn are not looked for: the machine of the run may have others.
    """
    if not uses_this_package(config):
        return
    checks = {"settings": check_config, "settings for the model": _check_model, "contents of rows": _check_rows}
    for what, check in checks.items():
        try:
            words = check(config) or ""
        except ConfigError as error:
            yield Line("start", what, level="fails", words=f"here, verl-mapo train refuses this run: {error}")
            return
        yield Line("start", what, level="unchecked" if words else "ok", words=words)


def _check_model(config: DictConfig) -> str:
    """Check that the run fits the model; returns why that is not checked: a plan does without a tokenizer."""
    try:
        tokenizer, processor = tokenizer_and_processor(config)
    except ConfigError as error:
        return str(error)
    check_model(config, [method(config) for method in enabled_methods(config)], tokenizer, processor)
    return ""


def _check_rows(config: DictConfig) -> str:
    """Check the rows of the run, unless code of the user reads them; returns why they are not checked."""
    if code_of_user_reads_rows(config):
        return "Code of yours reads them in the run."
    settings = [names.TRAIN_FILES, names.VAL_FILES]
    given = [path for path in settings if OmegaConf.select(config, path, throw_on_missing=False) is not None]
    datasets = [data_rows(files) for files in (data_files(config, path) for path in given) if files]
    if names.TRAIN_FILES not in given or not datasets:
        return GIVE_DATA
    check_columns(config, *datasets)
    check_rows(config, *datasets)
    return ""
