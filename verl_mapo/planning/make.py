# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Composes the configuration of a planned run, and reads config.json, the data and the machine."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from datasets import Dataset
from omegaconf import DictConfig, OmegaConf

from verl_mapo import names
from verl_mapo.machine import Machine
from verl_mapo.planning.arithmetic import GB
from verl_mapo.planning.compose import composed
from verl_mapo.planning.data_facts import DataFacts
from verl_mapo.planning.model_shape import ModelShape
from verl_mapo.planning.run import Place, PlannedRun
from verl_mapo.rollout.images import ProcessorResize, processor_kwargs, processor_resizes
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse, select
from verl_mapo.training.agent_workers import set_agent_workers
from verl_mapo.training.dead_settings_conditions import ACTOR
from verl_mapo.training.engine_table import STRATEGY
from verl_mapo.training.engines import ENGINE, NODES, check_engines
from verl_mapo.training.mode_checks import check_mode
from verl_mapo.training.row_checks import check_prompt_column
from verl_mapo.training.setting_values import check_setting_values
from verl_mapo.training.start_checks import check_given, data_files, data_rows, rows_drawn

_LEAST_TOKENS, _MOST_TOKENS = 4, 16384
"""Limits of an image where the model has no preprocessor_config.json: those of the released models."""


def planned_run(
    recipe: Path,
    overrides: Sequence[str],
    data: Path | None = None,
    gpu_memory: float | None = None,
    host_memory: float | None = None,
) -> PlannedRun:
    """A run, with all that its plan depends on.

    Args:
        recipe: its primary configuration, a yaml file.
        overrides: hydra overrides of the run.
        data: its training data; None for what the configuration names.
        gpu_memory: memory of a GPU in GB, to plan for another machine; None for this one.
        host_memory: memory of a node in GB, to plan for another machine.

    Raises:
        ConfigError: a setting, the data or the model cannot be read, or this machine has no GPU.
    """
    config = composed(recipe, overrides, data)
    _check(config)
    set_agent_workers(config)
    place = place_of(config, gpu_memory, host_memory)
    check_given(config, names.MODEL_PATH)
    path = select(config, names.MODEL_PATH)
    shape = ModelShape.read(path)
    originals, crops = _resizes(config, shape, path)
    given = OmegaConf.select(config, names.TRAIN_FILES, throw_on_missing=False)
    files = [] if given is None else data_files(config, names.TRAIN_FILES)
    facts = _facts(config, data_rows(files), originals) if files else None
    return PlannedRun(config, shape, originals, crops, facts, place)


def _facts(config: DictConfig, rows: Dataset, originals: ProcessorResize) -> DataFacts:
    check_prompt_column(config, rows)
    facts = DataFacts.of(rows, config.data, originals)
    return replace(facts, rows=rows_drawn(config, facts.rows))


def _check(config: DictConfig) -> None:
    """Check what the formulas are computed from, as the start of the run does.

    Raises:
        ConfigError: a value, the engines or the mode are refused, or the run trains without FSDP.
    """
    check_setting_values(config)
    check_mode(config)
    check_engines(config)
    if select(config, f"{ACTOR}.{NODES['dp']}") is None:
        raise ConfigError(
            f"{STRATEGY}={select(config, STRATEGY)} has no plan, because its formulas are those of FSDP: leave "
            f"{ENGINE}=dp, or start the run without a plan."
        )


def place_of(config: DictConfig, gpu_memory: float | None, host_memory: float | None) -> Place:
    """Where the run takes place: this machine, unless the memory of another machine's GPUs is given.

    Raises:
        ConfigError: this machine has no GPU, and no memory is given.
    """
    if gpu_memory is not None:
        return Place(gpu_memory * GB, memory=None if host_memory is None else host_memory * GB)
    machine = Machine.found()
    sizes = [size for size in map(_memory_of, machine.gpus) if size]
    if not sizes:
        raise ConfigError(
            "This machine has no GPU whose memory is known: give that of the machine of the run with --gpu-memory, in "
            "GB, for example --gpu-memory 80, and its host memory with --host-memory, for example --host-memory 2000."
        )
    folder = Path(str(select(config, names.CHECKPOINT_DIR, "."))).absolute()
    folder = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return Place(
        gpu=min(sizes),
        gpus=len(machine.gpus),
        memory=machine.memory if host_memory is None else host_memory * GB,
        shm=machine.shm[1] if machine.shm else 0,
        disk=shutil.disk_usage(folder).free,
    )


def _memory_of(gpu: str) -> float:
    """Bytes of a GPU that :class:`Machine` lists as ``name, 81559 MiB``; 0 if it says no size."""
    number, _, unit = gpu.rpartition(", ")[2].partition(" ")
    return float(number) * 2**20 if unit == "MiB" else 0


def _resizes(config: DictConfig, shape: ModelShape, path: str) -> tuple[ProcessorResize, ProcessorResize]:
    """The resizes of a run; those of verl's own agent loops know no limit of this package."""
    settings = parse(VisualToolSettings, config)
    if select(config, names.DEFAULT_AGENT_LOOP) != names.AGENT_LOOP:
        settings = replace(settings, max_image_pixels=None, max_crop_pixels=None)
    return processor_resizes(settings, _image_processor(shape, path), processor_kwargs(config.data))


def _image_processor(shape: ModelShape, path: str) -> Any:
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(path)
    except Exception:  # whatever the hub and transformers raise: a folder may hold config.json alone
        size = {"shortest_edge": _LEAST_TOKENS * shape.side**2, "longest_edge": _MOST_TOKENS * shape.side**2}
        return SimpleNamespace(patch_size=shape.side, merge_size=1, size=size)
