# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Ask the start checks which methods and settings compose, and write the answers into docs/methods.md.

    python scripts/methods_table.py            # print the table
    python scripts/methods_table.py --write    # replace the one in docs/methods.md

Every method of verl_mapo/config/method is composed with hydra, and each pair of a method and a choice is checked as a
run is before anything starts. A refused pair has the number of the sentence that the check says.
tests/test_methods_table.py does the same and compares it with the page.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

from datasets import Dataset
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from verl_mapo import names
from verl_mapo.settings import ConfigError, select
from verl_mapo.training.config_checks import check_config, check_model, check_rows
from verl_mapo.training.methods import enabled_methods

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "methods.md"
BEGIN, END = "<!-- written by scripts/methods_table.py -->\n", "<!-- end of what it writes -->\n"

COMMON = (
    "actor_rollout_ref.rollout.multi_turn.max_assistant_turns=4",
    "actor_rollout_ref.model.path=org/name",
    "data.max_prompt_length=1024",
    "data.max_response_length=1024",
    "data.train_files=[]",
    "data.val_files=[]",
    "reward.description_alignment.scorer.model=org/name",
    "trainer.rollout_data_dir=null",
)
"""Overrides of every configuration: what a user has to set, and limits that observations fit into."""

ROW = {
    "prompt": [{"role": "user", "content": "What colour is it?"}],
    "reward_model": {"style": "exact", "ground_truth": "red"},
    "data_source": "any",
}


@dataclass(frozen=True)
class Choice:
    """A column of the table.

    Attributes:
        title: its head.
        settings: dotted path to value.
        is_itself: the method that is this choice.
    """

    title: str
    settings: Mapping[str, Any]
    is_itself: str = ""


_ASYNC = {
    names.TRAINER_MODE: "separate_async",
    "trainer.v1.separate_async.parameter_sync_step": 4,
    "actor_rollout_ref.rollout.nnodes": 1,
    "actor_rollout_ref.rollout.n_gpus_per_node": 8,
    "actor_rollout_ref.rollout.checkpoint_engine.backend": "nccl",
    names.TOTAL_STEPS: None,
}

CHOICES = (
    Choice("visual credit", {f"{names.VISUAL_CREDIT_NODE}.enable": True}, names.VGPO),
    Choice("AXPO's continuations", {names.AGENT_LOOP_MANAGER: names.RESAMPLING_MANAGER}, names.AXPO),
    Choice("dynamic sampling", {"algorithm.filter_groups.enable": True, "algorithm.filter_groups.metric": "acc"}),
    Choice("KL in the loss", {"actor_rollout_ref.actor.use_kl_loss": True}),
    Choice("KL in the reward", {"algorithm.use_kl_in_reward": True}),
    Choice("no division by the spread", {"algorithm.norm_adv_by_std_in_grpo": False}),
    Choice("mean over rollouts", {"actor_rollout_ref.actor.loss_agg_mode": "seq-mean-token-mean"}),
    Choice("bypass mode", {names.BYPASS_MODE: True}),
    Choice("generation apart", _ASYNC),
    Choice("no scorer", {"reward.description_alignment.scorer.kind": "none"}),
    Choice("verl's reward manager", {names.REWARD_MANAGER_NAME: "naive"}),
    Choice("no tools", {"visual_tool.tools": []}),
    Choice("verl's single turns", {names.DEFAULT_AGENT_LOOP: "single_turn_agent"}),
    Choice("one rollout a question", {names.ROLLOUT_N: 1}),
)

FAMILIES = {"qwen2_5_vl": "Qwen2.5-VL", "qwen3_vl": "Qwen3-VL", "qwen3_5": "Qwen3.5"}
"""Model type of each family that the loop knows to its name."""


def methods() -> list[str]:
    """The names of the methods that have a yaml, those of this package before those that are verl's own."""
    folder = ROOT / "verl_mapo" / "config" / "method"
    found = sorted(file.stem for file in folder.glob("[!_]*.yaml"))
    return [name for name in names.ESTIMATORS if name in found] + [
        name for name in found if name not in names.ESTIMATORS
    ]


def configuration(method: str) -> DictConfig:
    """The configuration of a run with a method and nothing else."""
    with initialize_config_module("verl_mapo.config", version_base=None):
        return compose("run", [*COMMON, f"method={method}"])


def refusal(config: DictConfig, settings: Mapping[str, Any], model: Any = None) -> str:
    """What the start checks say against a configuration with some settings changed; empty if they accept it.

    Args:
        config: the configuration; not changed.
        settings: dotted path to value.
        model: ``folder``, ``tokenizer`` and ``processor`` of a model to check as well.
    """
    config = copy.deepcopy(config)
    for path, value in settings.items():
        OmegaConf.update(config, path, value, force_add=True)
    try:
        check_config(config)
        check_rows(config, Dataset.from_list([ROW]))
        if model is not None:
            OmegaConf.update(config, names.MODEL_PATH, str(model.folder))
            enabled = [method(config) for method in enabled_methods(config)]
            check_model(config, enabled, model.tokenizer, model.processor)
    except ConfigError as error:
        estimator = select(config, names.ADV_ESTIMATOR)
        asker = f"{names.ADV_ESTIMATOR}={estimator}"
        return (
            str(error).replace(asker, f"{names.ADV_ESTIMATOR}=METHOD").replace(f"which {estimator} ", "which METHOD ")
        )
    return ""


def markdown(models: Mapping[str, Any]) -> str:
    """The settings of the choices, the table of the pairs, and the sentences of those that are refused.

    Args:
        models: model type to a model of each of :data:`FAMILIES`, see :func:`refusal`.
    """
    sentences: dict[str, int] = {}
    rows = []
    for method in methods():
        config = configuration(method)
        said = ["itself" if choice.is_itself == method else refusal(config, choice.settings) for choice in CHOICES]
        said += [refusal(config, {}, models[family]) for family in FAMILIES]
        cells = [
            text if text == "itself" else f"no ({sentences.setdefault(text, len(sentences) + 1)})" if text else "yes"
            for text in said
        ]
        rows.append(f"| `{method}` | {' | '.join(cells)} |")
    heads = [choice.title for choice in CHOICES] + list(FAMILIES.values())
    given = [f"- {choice.title}: {', '.join(_shown(*pair) for pair in choice.settings.items())}" for choice in CHOICES]
    return "\n".join(
        [
            *given,
            "",
            f"| method | {' | '.join(heads)} |",
            f"|---|{'---|' * len(heads)}",
            *rows,
            "",
            *(f"{number}. {sentence}" for sentence, number in sentences.items()),
            "",
        ]
    )


def _shown(path: str, value: Any) -> str:
    return f"`{path}={value if isinstance(value, str) else json.dumps(value)}`"


def page_with(table: str) -> str:
    """The page with another table."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return f"{before}{BEGIN}{table}{END}{rest.partition(END)[2]}"


def build_models(folder: Path) -> dict[str, Any]:
    """Untrained tiny models of the families."""
    from verl.utils import hf_processor, hf_tokenizer

    from verl_mapo.toy.tiny_vlm import build_model, build_processor, save

    models = {}
    for family in FAMILIES:
        processor = build_processor(family)
        path = folder / family
        save(build_model(family, processor.tokenizer, seed=0), processor, path)
        parts = {"tokenizer": hf_tokenizer(str(path)), "processor": hf_processor(str(path))}
        models[family] = SimpleNamespace(folder=path, **parts)
    return models


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the table in docs/methods.md")
    write = parser.parse_args().write
    with TemporaryDirectory() as folder:
        table = markdown(build_models(Path(folder)))
    if write:
        PAGE.write_text(page_with(table))
    else:
        print(table)


if __name__ == "__main__":
    main()
