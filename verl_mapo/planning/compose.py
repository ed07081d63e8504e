# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Composes the configuration of a run without starting it. verl is not imported."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationKeyError, InterpolationResolutionError, OmegaConfBaseException

from verl_mapo import names
from verl_mapo.overrides import check_overrides, last_value, name_groups, path_override, quoted
from verl_mapo.settings import ConfigError, local_path
from verl_mapo.training.setting_hints import nearest

PRIMARY = Path(__file__).parents[1] / "config" / "run.yaml"
"""The primary configuration of a run that has no recipe."""

_SEARCHPATH = "hydra.searchpath"

_REFERENCE = re.compile(r"\$\{([\w.]+)\}")
"""A reference to another setting in a value."""

_KINDS = (ObjectType.CONFIG, ObjectType.GROUP)

_FAULTS = (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError)
"""What hydra raises for a file or an override that cannot be used; ValueError, for one, for a file that is no text."""


def composed(recipe: Path, overrides: Sequence[str], data: Path | None = None) -> DictConfig:
    """The configuration of a run, as hydra composes it.

    Args:
        recipe: its primary configuration, a yaml file.
        overrides: hydra overrides of the run.
        data: its training data; None for what the configuration names.

    Raises:
        ConfigError: the recipe cannot be read; or with a sentence for every override that names no setting or choice,
            and the one that was probably meant; or a value refers to a setting that there is not.
    """
    check_overrides(overrides)
    given = name_groups(overrides)
    if data is not None:
        given.append(path_override(names.TRAIN_FILES, local_path(data).resolve()))
    searchpath = _searchpath(recipe, given)
    left = OverridesParser.create().parse_overrides([*given, *searchpath])
    refused: list[tuple[Override, str]] = []
    with initialize_config_dir(str(recipe.resolve().parent), version_base=None):
        _check_choices(recipe, searchpath, left)
        while True:
            try:
                config = compose(recipe.stem, [override.input_line for override in left])
                break
            except _FAULTS as error:
                reason = _reason(error)
                found = next((each for each in left if _is_meant(each, reason)), None)
                if found is None:
                    raise ConfigError(f"{_named(recipe)} cannot be composed: {reason}") from None
                refused.append((found, reason))
                left.remove(found)
        groups = _options("", recipe, searchpath, ObjectType.GROUP)
    if refused:
        raise ConfigError(" ".join(_sentence(override, reason, config, groups) for override, reason in refused))
    _check_interpolations(config)
    return config


def _check_choices(recipe: Path, searchpath: list[str], overrides: Sequence[Override]) -> None:
    """Raise ConfigError if an override of a group names no choice, or more than one of a group that has a single one.

    hydra leaves out a choice of an optional group that there is not, and lets the last one of several win.
    """
    for override in overrides:
        group, value = override.key_or_group, override.value()
        is_group = "." not in group and any(_options(group, recipe, searchpath, kind) for kind in _KINDS)
        if override.is_delete() or not is_group:
            continue
        for name in value if isinstance(value, list) else [value]:
            folder, slash, last = str(name).removesuffix(".yaml").rpartition("/")
            known = _options(f"{group}{slash}{folder}", recipe, searchpath)
            public = [each for each in known if not each.startswith("_")]
            if last not in public and "$" not in last:
                choices = [f"{folder}{slash}{each}" for each in public]
                close = get_close_matches(f"{folder}{slash}{last}", choices, n=1)
                raise ConfigError(
                    f"{override.input_line} is refused: {f'did you mean {group}={close[0]}? The' if close else 'the'} "
                    f"choices of {group} are {', '.join(choices)}."
                )
        if isinstance(value, list) and (PRIMARY.parent / group).is_dir():
            one = f"; write {group}={value[0]}" if value else ""
            raise ConfigError(f"{override.input_line} is refused: {group} has one choice and no list{one}.")


def _is_meant(override: Override, reason: str) -> bool:
    """Whether hydra's reason is about an override."""
    key = _key(override)
    return f"'{key}'" in reason or (override.is_add() and reason.startswith(f"Multiple values for {key}. "))


def _check_interpolations(config: DictConfig) -> None:
    """Raise ConfigError if a value refers to a setting that there is not."""
    try:
        OmegaConf.to_container(config, resolve=True)
    except InterpolationKeyError as error:
        reason, settings = str(error).partition("\n")[0], dict(_settings(config))
        written = {path: value for path, value in settings.items() if not isinstance(value, Mapping)}
        given = ((path, reference) for path, value in written.items() for reference in _REFERENCE.findall(str(value)))
        path, absent = next((pair for pair in given if f"'{pair[1]}'" in reason), (error.full_key, ""))
        near = nearest(absent, settings)
        hint = f"; did you mean ${{{near}}}?" if near else ": give a value, or refer to a setting that there is."
        raise ConfigError(f"{path} is refused: it refers to {absent or reason}, which is not a setting{hint}") from None
    except InterpolationResolutionError:  # a value that is known only in the run, such as hydra's folder
        return


def _options(group: str, recipe: Path, searchpath: list[str], kind: ObjectType = ObjectType.CONFIG) -> list[str]:
    """The choices of a group of configurations, or with ``ObjectType.GROUP`` the groups in it; none if hydra cannot
    read the recipe, of which :func:`composed` tells."""
    try:
        return GlobalHydra.instance().config_loader().get_group_options(group, kind, recipe.stem, searchpath)
    except _FAULTS:
        return []


def _sentence(override: Override, reason: str, config: DictConfig, groups: Sequence[str]) -> str:
    """What is wrong with an override that hydra refuses.

    Args:
        override: the override.
        reason: what hydra says.
        config: the configuration without the override.
        groups: names of the groups of configurations.
    """
    text, key = override.input_line, _key(override)
    value, settings = override.value(), dict(_settings(config))
    if override.is_add() and key in settings:
        return f"{text} is refused: write {text.lstrip('+')}, because {key} is a setting that there is."
    if key in settings:
        return f"{text} is refused: {reason}"
    if key in groups and override.is_add():
        return f"{text} is refused: write {text.lstrip('+')}, because the configuration has {key} in its defaults list."
    if key in groups and not override.is_delete():
        return f"{text} is refused: the configuration has no {key} in its defaults list to replace; write +{text}."
    fitting = [path for path, held in settings.items() if not isinstance(held, Mapping) or isinstance(value, dict)]
    if near := nearest(key, fitting if "." in key else [*groups, *fitting]):
        return f"{text} is refused: {key} is not a setting; did you mean {near}?"
    write = "leave this out" if override.is_delete() else f"write +{text} if code of yours reads it"
    return f"{text} is refused: {key} is not a setting of verl or of this package; {write}."


def _settings(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """The dotted path of every setting and node with what is written there, as it is before it is resolved."""

    def below(node: Mapping[Any, Any], path: str) -> Iterator[tuple[str, Any]]:
        for name, value in node.items():
            yield f"{path}{name}", value
            if isinstance(value, Mapping):
                yield from below(value, f"{path}{name}.")

    return below(OmegaConf.to_container(config, resolve=False), "")


def _key(override: Override) -> str:
    """The setting or group of an override as hydra names it in its messages."""
    return override.input_line.lstrip("+~").partition("=")[0]


def _reason(error: Exception) -> str:
    """What hydra says, without the list of the places where it has searched."""
    return " ".join(str(error).partition("Config search path")[0].split())


def _named(recipe: Path) -> str:
    """A primary configuration as the command line names it."""
    return f"--config {recipe.stem}" if recipe.parent == PRIMARY.parent else f"--recipe {recipe}"


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
