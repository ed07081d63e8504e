# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Which setting a user may have meant who wrote one that does not exist: the nearest by name and by place."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from functools import cache

_OTHERS = {
    "lr": "learning_rate lrate",
    "clip_grad": "max_grad_norm gradient_clip gradient_clipping",
    "clip_ratio_low": "clip_range cliprange epsilon",
    "clip_ratio_high": "epsilon_high",
    "param_offload": "cpu_offload",
    "ulysses_sequence_parallel_size": "sp_size ulysses_sp_size",
    "tensor_model_parallel_size": "tp_size tensor_parallel_size",
    "ppo_micro_batch_size_per_gpu": "per_device_train_batch_size",
    "n": "num_generations num_return_sequences group_size n_samples_per_prompt num_samples",
    "max_response_length": "max_completion_length max_new_tokens max_tokens",
    "max_assistant_turns": "max_turns max_tool_calls",
    "train_files": "train_data train_dataset train_path",
    "val_files": "val_data val_path eval_data eval_dataset eval_files test_files validation_files",
    "image_key": "image_column",
    "prompt_key": "prompt_column",
    "total_epochs": "epochs num_epochs num_train_epochs max_epochs",
    "total_training_steps": "max_steps num_steps num_train_steps",
    "save_freq": "save_steps save_interval",
    "test_freq": "eval_steps eval_freq eval_interval val_freq",
    "default_local_dir": "output_dir save_dir save_path checkpoint_dir ckpt_dir ckpt_path",
    "resume_from_path": "resume_from_checkpoint",
    "project_name": "wandb_project",
    "experiment_name": "run_name",
    "logger": "loggers report_to",
    "nnodes": "num_nodes nodes",
    "n_gpus_per_node": "num_gpus gpus_per_node num_gpus_per_node",
}
OTHER_NAMES: Mapping[str, str] = {other: name for name, others in _OTHERS.items() for other in others.split()}
"""Names in TRL, transformers, OpenRLHF and vLLM to those in verl; names that share words or letters need no entry."""

_NEAR, _FAR = 0.76, 0.84
"""Likeness from which a setting is offered: in the same node or below it, and in another node."""


def nearest(path: str, others: Iterable[str]) -> str:
    """The setting whose name is most like that of another one, and that stands nearest to it.

    Args:
        path: dotted path of a setting that does not exist.
        others: dotted paths of settings that exist; of equally good ones, the first is taken.

    Returns:
        One of the paths; empty if none is like it.
    """
    *nodes, name = path.split(".")
    scored = [(score, other) for other in others if (score := _score(nodes, name, other.split("."))) > 0]
    return max(scored, key=lambda pair: pair[0], default=(0, ""))[1]


def likeness(name: str, other: str) -> float:
    """How alike two names are, from 0 to 1, where case, underscores and dashes do not count.

    It is the share of equal letters in the same order. Names of which one holds all words of the other, such as
    ``contents`` and ``save_contents`` or ``gpu_mem_util`` and ``gpu_memory_utilization``, have more than 0.8.
    """
    letters = _letters(name), _letters(other)
    if letters[0] == letters[1] or OTHER_NAMES.get(name) == other:
        return 1.0
    few, many = sorted((_words(name), _words(other)), key=len)
    within = few and all(any(_begins(long, word) for long in many) for word in few)
    matcher = SequenceMatcher(None, *letters)
    close = matcher.real_quick_ratio() >= _NEAR and matcher.quick_ratio() >= _NEAR  # saves most of the time
    return max(0.8 + 0.15 * len(few) / len(many) if within else 0.0, matcher.ratio() if close else 0.0)


def _score(nodes: list[str], name: str, other: list[str]) -> float:
    alike = max(likeness(name, other[-1]), likeness(name, "_".join(other[-2:])) if len(other) > len(nodes) + 1 else 0.0)
    below = other[: len(nodes)] == nodes
    if alike < (_NEAR if below else _FAR):
        return 0.0
    common = next((place for place, pair in enumerate(zip(nodes, other, strict=False)) if len({*pair}) > 1), len(nodes))
    certain = OTHER_NAMES.get(name) == other[-1]
    nearby = 0.05 * below + 0.04 * (other[:-1] == nodes) + 0.03 * (common - (common == 0)) - 0.01 * len(other)
    return alike + 0.05 * certain + 0.04 * (alike == 1) + nearby


def _begins(word: str, part: str) -> bool:
    return word == part or (len(part) > 2 and word.startswith(part))


@cache
def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "", name).lower()


@cache
def _words(name: str) -> frozenset[str]:
    return frozenset(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name))
