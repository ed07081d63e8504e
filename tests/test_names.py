# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Names and paths are written in verl_mapo/names.py only, and verl's configuration has every path."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent

import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

import verl_mapo
from verl_mapo import names

PACKAGE = Path(verl_mapo.__file__).parent

CONSTANTS = {name: value for name, value in vars(names).items() if name.isupper() and isinstance(value, str)}

WITHOUT_A_DOT = ("MAPO", "AXPO", "VGPO", "AGENT_LOOP", "REWARD_MANAGER", "VISUAL_TOOL_NODE")
"""Constants whose values are distinctive words; other words, such as "trajectory", have further meanings."""

GUARDED = {value: name for name, value in CONSTANTS.items() if "." in value or name in WITHOUT_A_DOT}
"""Values that no other module may repeat."""

ADDED = {value for name, value in CONSTANTS.items() if name.endswith("_NODE")} | {
    names.RESAMPLING_MANAGER,
    names.PICTURE_DIR,
}
"""Dotted values that are no paths of verl's configuration."""

FIELDS = {("verl_mapo/report/load.py", names.AXPO)}
"""File and value of strings that are names of dataclass fields."""

NOT_IN_YAML = {
    *(names.ATTENTION, names.IMAGES_PER_PROMPT, names.IMAGE_CACHE),
    *(names.AGENT_LOOP_MANAGER, names.OBJECT_STORE_MEMORY),
}
"""Paths that verl reads but its yaml files do not have: options of vLLM and Ray, and a field of AgentLoopConfig."""

PATH = re.compile(r"(actor_rollout_ref|algorithm|critic|data|reward|trainer)(\.\w+)+")


def strings(code: str) -> Iterator[tuple[int, str]]:
    """Line and value of each string that is no docstring and no part of an f-string."""
    tree = ast.parse(code)
    prose: set[int] = set()
    for node in ast.walk(tree):  # parents come before their children
        if isinstance(node, ast.Expr):
            prose.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            prose.update(map(id, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def repeated(files: Mapping[str, str]) -> list[str]:
    """A sentence for each string that repeats a name, and for each configuration path that is written several times.

    Args:
        files: name of a file to its code.
    """
    places: dict[str, list[str]] = defaultdict(list)
    for file, code in files.items():
        for line, value in strings(code):
            if (file, value) not in FIELDS:
                places[value].append(f"{file}:{line}")
    found = []
    for value, where in places.items():
        if value in GUARDED:
            found += [f"{place}: {value!r} is written out: use names.{GUARDED[value]}" for place in where]
        elif PATH.fullmatch(value) and len(where) > 1:
            found.append(f"{', '.join(where)}: the path {value!r} is written {len(where)} times: add it to names.py")
    return sorted(found)


def test_names_and_paths_of_the_package_are_written_once():
    files = {str(file.relative_to(PACKAGE.parent)): file.read_text() for file in PACKAGE.rglob("*.py")}
    del files["verl_mapo/names.py"]
    found = repeated(files)
    assert not found, "\n".join(["", *found])


def test_repeated_names_are_found_and_docstrings_and_messages_are_left_out():
    code = """
        '''axpo'''
        x = {"axpo": 1}
        y = f"{x}axpo"
        z = "algorithm.adv_estimator=axpo needs a tool", select("algorithm.adv_estimator"), "trainer.critic_warmup"
        "algorithm.adv_estimator"
    """
    assert repeated({"a.py": dedent(code)}) == [
        "a.py:3: 'axpo' is written out: use names.AXPO",
        "a.py:5: 'algorithm.adv_estimator' is written out: use names.ADV_ESTIMATOR",
    ]


def test_path_that_several_files_write_is_found():
    found = repeated({"a.py": "x = 'trainer.critic_warmup'", "b.py": "y = 'trainer.critic_warmup', 'data.seed'"})
    assert found == ["a.py:1, b.py:1: the path 'trainer.critic_warmup' is written 2 times: add it to names.py"]


def test_no_two_constants_have_the_same_value():
    guarded = [value for value in CONSTANTS.values() if value in GUARDED]
    assert len(guarded) == len(set(guarded))


@pytest.fixture(scope="module")
def verl_config():
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose("ppo_trainer")


@pytest.mark.parametrize("path", sorted({value for value in GUARDED if "." in value} - ADDED - NOT_IN_YAML))
def test_verl_configuration_has_the_path(verl_config, path):
    node, _, key = path.rpartition(".")
    assert key in OmegaConf.select(verl_config, node)


def test_verl_agent_loop_settings_have_the_manager_class():
    from verl.workers.config.rollout import AgentLoopConfig

    assert names.AGENT_LOOP_MANAGER.rpartition(".")[2] in AgentLoopConfig.__dataclass_fields__


def test_stock_agent_loops_include_all_of_verl():
    from verl.experimental.agent_loop.agent_loop import _agent_loop_registry

    of_verl = {name for name, entry in _agent_loop_registry.items() if entry["_target_"].startswith("verl.")}
    assert of_verl <= set(names.STOCK_AGENT_LOOPS)


def test_resampling_manager_exists():
    from verl_mapo.rollout.axpo.worker import ResamplingManager

    assert f"{ResamplingManager.__module__}.{ResamplingManager.__name__}" == names.RESAMPLING_MANAGER
