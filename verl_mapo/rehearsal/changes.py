# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The table of what a rehearsal changes in a recipe, each with its reason, and of what is therefore not rehearsed.

Everything else is as written in the recipe. ``stack=cpu`` comes before the recipe's own settings, so a recipe may set
again what a machine without an accelerator cannot do; these settings are changed back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from verl_mapo import names
from verl_mapo.advantages.axpo import AxpoSettings
from verl_mapo.overrides import path_override
from verl_mapo.settings import ConfigError, local_path, parse, select
from verl_mapo.training.logger_checks import BACKENDS, loggers

PROMPTS = 2
"""Prompts of a step, if the method needs no more."""

STEPS = 2
"""Steps before the run is started again from its checkpoint."""

LARGEST_WEIGHT = 128
"""Megabytes; the embeddings of the tiny model have 78 MB."""

_BUCKET = "actor_rollout_ref.rollout.checkpoint_engine.update_weights_bucket_megabytes"
_SCORER = f"{names.ALIGNMENT_NODE}.scorer"
_LOAD_FORMAT = "actor_rollout_ref.rollout.load_format"
_SEED = f"{names.VISUAL_TOOL_NODE}.seed"
_VLLM = "actor_rollout_ref.rollout.engine_kwargs.vllm"


@dataclass(frozen=True)
class Parts:
    """What a rehearsal puts in the place of models and data.

    Attributes:
        model: folder of the tiny model.
        scorer: folder of the tiny scorer.
        data: the parquet file.
        rows: what the data are, in words.
        vocabulary: rows of the output head.
    """

    model: Path
    scorer: Path
    data: Path
    rows: str
    vocabulary: int


@dataclass(frozen=True)
class Change:
    """One setting of a recipe that a rehearsal changes.

    Attributes:
        setting: its dotted path.
        before, after: its value in the recipe and in the rehearsal.
        reason: why.
        lost: what is therefore not rehearsed; empty where nothing is.
    """

    setting: str
    before: Any
    after: Any
    reason: str
    lost: str = ""

    @property
    def override(self) -> str:
        """The hydra override; ``++`` adds a setting that the recipe does not have."""
        return (
            path_override(f"++{self.setting}", self.after)
            if isinstance(self.after, str)
            else (f"++{self.setting}={_plain(self.after)}")
        )


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Attributes:
        setting: dotted path of the setting.
        value: the value in a rehearsal, from the recipe's configuration and the parts; may be the recipe's own.
        reason: why it is changed.
        lost: what is not rehearsed if it is changed.
    """

    setting: str
    value: Callable[[DictConfig, Parts], Any]
    reason: str
    lost: str = ""


def _prompts(config: DictConfig, _: Parts) -> int:
    """Prompts of a step: a few, and under AXPO enough for a budget of one prefix."""
    needed, n = PROMPTS, select(config, names.ROLLOUT_N)
    if select(config, names.ADV_ESTIMATOR) == names.AXPO:
        budget = parse(AxpoSettings, config)
        needed = next(prompts for prompts in range(PROMPTS, 1025) if budget.slots(prompts * n))
    return min(config.data.train_batch_size, needed)


def _mini_batch(config: DictConfig, parts: Parts) -> int:
    """As many mini-batches a step as in the recipe, as far as there are prompts."""
    mini = config.actor_rollout_ref.actor.ppo_mini_batch_size
    prompts = _prompts(config, parts)
    updates = min(math.ceil(config.data.train_batch_size / mini), prompts)
    return math.ceil(prompts / updates)


def _kept_loggers(config: DictConfig, _: Parts) -> list[str]:
    return [name for name in loggers(config) if name not in BACKENDS or not BACKENDS[name].fault] or ["console", "file"]


def _scorer_model(config: DictConfig, parts: Parts) -> Any:
    kind, model = select(config, f"{_SCORER}.kind"), select(config, f"{_SCORER}.model")
    absent = kind == "clip" and model and not (local_path(model) / "config.json").is_file()
    return str(parts.scorer) if absent else model


def _kept_if(setting: str, *kept: Any, otherwise: Any) -> Callable[[DictConfig, Parts], Any]:
    """The recipe's own value where it is one of some values."""

    def value(config: DictConfig, _: Parts) -> Any:
        own = select(config, setting)
        return own if own in kept else otherwise

    return value


def _always(value: Any) -> Callable[[DictConfig, Parts], Any]:
    return lambda *_: value


def _one(setting: str, lost: str = "") -> Rule:
    """A number of parallel parts, of which there is one."""
    return Rule(setting, _kept_if(setting, None, 1, otherwise=1), "stack=cpu: one worker", lost)


def _seed(config: DictConfig, _: Parts) -> int | None:
    own = select(config, _SEED)
    return 1 if own is None and select(config, names.DEFAULT_AGENT_LOOP) == names.AGENT_LOOP else own


_ALL_LOGITS = "the logits of a whole micro-batch in memory"
_FUSED = "with {vocabulary} ids, the logits of a micro-batch do not fit into the memory of this machine"

RULES = (
    Rule(
        names.MODEL_PATH,
        lambda _, parts: str(parts.model),
        "a tiny model of the same family, with {vocabulary} ids",
        "the weights of the model, their memory and their speed",
    ),
    Rule(names.TRAIN_FILES, lambda _, parts: str(parts.data), "{rows}"),
    Rule(names.VAL_FILES, lambda _, parts: str(parts.data), "{rows}"),
    Rule(names.TRAIN_BATCH_SIZE, _prompts, "few prompts a step", "the full batch: its memory, and the scorer's load"),
    Rule("actor_rollout_ref.actor.ppo_mini_batch_size", _mini_batch, "as many mini-batches of the smaller batch"),
    Rule(names.VAL_ROWS, _always(PROMPTS), "few prompts a validation"),
    Rule(
        f"{_SCORER}.model",
        _scorer_model,
        "the scorer is not on this machine: a tiny CLIP with random weights",
        "the scores of the scorer's own weights",
    ),
    Rule(
        f"{_SCORER}.device",
        _kept_if(f"{_SCORER}.device", "auto", "cpu", None, otherwise="cpu"),
        "no GPU here",
        "the scorer on a GPU",
    ),
    Rule(f"{_SCORER}.num_gpus", _kept_if(f"{_SCORER}.num_gpus", None, otherwise=0.0), "no GPU here"),
    Rule("actor_rollout_ref.model.use_fused_kernels", _always(True), _FUSED, _ALL_LOGITS),
    Rule("actor_rollout_ref.model.fused_kernel_options.impl_backend", _always("torch"), "the one that a CPU can run"),
    Rule(f"{_VLLM}.skip_mm_profiling", _always(True), "a picture of the processor's limit takes a CPU minutes"),
    Rule(
        names.REWARD_WORKERS,
        lambda config, _: min(config.reward.num_workers, 1),
        "each is a process of 1 GB",
        "several reward workers",
    ),
    Rule(
        f"{_SCORER}.replicas",
        lambda config, _: min(select(config, f"{_SCORER}.replicas", 1), 1),
        "each is a process of 1 GB",
        "several scorers",
    ),
    Rule(
        _BUCKET,
        lambda config, _: max(select(config, _BUCKET), LARGEST_WEIGHT),
        "an embedding is sent to vLLM in one piece",
    ),
    Rule(
        _LOAD_FORMAT,
        _kept_if(_LOAD_FORMAT, "auto", "safetensors", otherwise="auto"),
        "stack=cpu: dummy weights would change buffers",
    ),
    _one("actor_rollout_ref.rollout.data_parallel_size", "engines of several GPUs"),
    _one("actor_rollout_ref.rollout.pipeline_model_parallel_size"),
    _one("actor_rollout_ref.actor.ulysses_sequence_parallel_size", "Ulysses sequence parallelism"),
    _one("actor_rollout_ref.ref.ulysses_sequence_parallel_size"),
    Rule(
        names.TRAINER_MODE,
        _kept_if(names.TRAINER_MODE, "sync", "colocate_async", otherwise="colocate_async"),
        "separate engines need a checkpoint engine that a CPU lacks",
        "engines that are separate from training",
    ),
    Rule(_SEED, _seed, "every rehearsal samples alike"),
    Rule("records.share", _always(1.0), "so few questions; the table below counts their records"),
    Rule(names.LOGGER, _kept_loggers, "no package or no key on this machine", "the loggers that were left out"),
    Rule(names.TOTAL_STEPS, _always(STEPS), "a rehearsal has two steps and, from their checkpoint, a third"),
    Rule(names.SAVE_FREQ, lambda config, _: max(config.trainer.save_freq, 0) or STEPS, "for the checkpoint"),
    Rule(names.RESUME_MODE, _always("auto"), "for the third step"),
)
"""What a rehearsal changes beside the CPU stack."""

OWN = (
    "actor_rollout_ref.model.enable_gradient_checkpointing",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu",
    "actor_rollout_ref.ref.log_prob_micro_batch_size_per_gpu",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu",
    "actor_rollout_ref.rollout.max_num_batched_tokens",
    "actor_rollout_ref.rollout.max_num_seqs",
    f"{_VLLM}.limit_mm_per_prompt",
    f"{_VLLM}.block_size",
    _LOAD_FORMAT,
    _BUCKET,
    names.REWARD_WORKERS,
    names.LOGGER,
)
"""Settings and nodes of the CPU stack that a recipe may set again: a CPU can do what they ask for."""

LOST_ON_A_CPU = {
    names.NODES: "several nodes",
    names.GPUS_PER_NODE: "several GPUs: sharding, NCCL, batches balanced over ranks",
    "actor_rollout_ref.model.use_remove_padding": "packed sequences",
    names.ATTENTION: "flash-attn",
    names.STRATEGY: "another engine than FSDP2",
    "actor_rollout_ref.rollout.name": "another engine than vLLM",
    "actor_rollout_ref.rollout.tensor_model_parallel_size": "tensor parallelism",
    "actor_rollout_ref.rollout.enforce_eager": "CUDA graphs",
    "actor_rollout_ref.rollout.free_cache_engine": "memory given back between rollout and training",
}
"""What is not rehearsed where the CPU stack changes a setting of a recipe."""

NEVER = (
    "bfloat16: a CPU computes in float32",
    "GPU memory: gpu_memory_utilization, offload, KV cache",
    "flash-attn, CUDA graphs, NCCL",
    "speed",
)
"""What no rehearsal on a CPU can show, whatever the recipe says."""


def cpu_stack() -> dict[str, Any]:
    """The settings of ``stack=cpu`` by dotted path, those of :data:`OWN` left out."""
    file = resources.files("verl_mapo.config") / "stack" / "cpu.yaml"
    leaves = dict(_leaves(OmegaConf.create(file.read_text())))
    return {path: value for path, value in leaves.items() if not any(f"{path}.".startswith(f"{own}.") for own in OWN)}


def changes(config: DictConfig, parts: Parts) -> list[Change]:
    """What a rehearsal changes in a configuration.

    Args:
        config: the recipe with ``stack=cpu`` and the user's overrides.
        parts: models and data.

    Raises:
        ConfigError: the recipe's engine cannot be rehearsed.
    """
    engine = select(config, names.STRATEGY)
    if engine not in names.ENGINES:
        raise ConfigError(f"{names.STRATEGY}={engine} cannot be rehearsed: a CPU runs only fsdp2; set it to fsdp2.")
    found = [
        Change(path, select(config, path), value, "stack=cpu: no accelerator here", LOST_ON_A_CPU.get(path, ""))
        for path, value in cpu_stack().items()
        if select(config, path) != value
    ]
    words = {"vocabulary": f"{parts.vocabulary:,}", "rows": parts.rows}
    for rule in RULES:
        before = OmegaConf.select(config, rule.setting, throw_on_missing=False)
        before = OmegaConf.to_container(before) if OmegaConf.is_config(before) else before
        after = rule.value(config, parts)
        if after != before:
            found.append(Change(rule.setting, before, after, rule.reason.format(**words), rule.lost))
    return found


def _leaves(node: DictConfig, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of every leaf; interpolations of a node that leads elsewhere are left out."""
    for key in node:
        where = f"{path}.{key}" if path else str(key)
        if OmegaConf.is_interpolation(node, key):
            continue
        value = node[key]
        if isinstance(value, DictConfig):
            yield from _leaves(value, where)
        else:
            yield where, OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_plain, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
