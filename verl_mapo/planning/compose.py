# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Composes the configuration of a run without starting it. verl is not imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig

from verl_mapo import names
from verl_mapo.overrides import check_overrides, last_value, name_groups, path_override, quoted
from verl_mapo.settings import ConfigError

PRIMARY = Path(__file__).parents[1] / "config" / "run.yaml"
"""The primary configuration of a run that has no recipe."""

_SEARCHPATH = "hydra.searchpath"


def composed(recipe: Path, overrides: Sequence[str], data: Path | None = None) -> DictConfig:
    """The configuration of a run, as hydra composes it.

    Args:
        recipe: its primary configuration, a yaml file.
        overrides: hydra overrides of the run.
        data: its training data; None for what the configuration names.

    Raises:
        ConfigError: hydra cannot compose it, or an override is an option that the command does not have.
    """
    if option := next((text for text in overrides if text.startswith("-")), None):
        raise ConfigError(f"{option} is no option of this command: --help lists those that there are.")
    check_overrides(overrides)
    given = name_groups(overrides)
    if data is not None:
        given.append(path_override(names.TRAIN_FILES, data.resolve()))
    try:
        with initialize_config_dir(str(recipe.resolve().parent), version_base=None):
            return compose(recipe.stem, [*given, *_searchpath(recipe, given)])
    except HydraException as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"--recipe {recipe} cannot be composed: {reason}") from None


def _searchpath(recipe: Path, overrides: Sequence[str]) -> list[str]:
    """The override of hydra's search path that names packages by their folders; none for a recipe that is not read.

    Hydra imports a package that it searches, and ``import verl`` loads torch and Ray: seconds, and 800 MB.
    """
    places = last_value(overrides, _SEARCHPATH)
    if places is None:
        try:
            node = yaml.safe_load(recipe.read_text(encoding="utf-8"))["hydra"]["searchpath"]
        except (OSError, ValueError, LookupError, TypeError, yaml.YAMLError):  # hydra says what is wrong
            return []
        places = node or []
    return [f"{_SEARCHPATH}=[{','.join(quoted(_by_folder(str(place))) for place in places)}]"]


def _by_folder(place: str) -> str:
    """``pkg://a.b`` as ``file://FOLDER/b``; everything else as it is."""
    if not place.startswith("pkg://"):
        return place
    package, *inside = place.removeprefix("pkg://").split(".")
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        return place  # hydra says what is wrong
    return f"file://{Path(found.submodule_search_locations[0], *inside)}"
