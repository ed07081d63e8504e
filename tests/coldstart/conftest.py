# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from verl_mapo.coldstart.command import CONFIG
from verl_mapo.coldstart.dataset import SupervisedDataset
from verl_mapo.planning.compose import composed

SFT = ("model.path=/unused", "data.train_files=/unused", "sft.workers=1", "sft.replays=null")


@pytest.fixture(scope="session")
def sft_config() -> Callable[..., Any]:
    """The configuration ``sft`` with overrides."""
    return lambda *overrides: composed(CONFIG, [*SFT, *overrides])


@pytest.fixture
def supervised(sft_config) -> Callable[..., SupervisedDataset]:
    """The data set of a file for a model, with overrides of the configuration."""

    def make(model: Any, file: Any, *overrides: str) -> SupervisedDataset:
        return SupervisedDataset(str(file), model.tokenizer, sft_config(*overrides).data, model.processor)

    return make
