# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Hydra overrides: written so that hydra reads back exactly the given text, and checked before a run is started."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from verl_mapo.settings import ConfigError

_PLAIN = re.compile(r"/[A-Za-z0-9_./+-]*")
"""Absolute paths that hydra, OmegaConf and a shell read as they are."""

NUMBERED_GROUPS = ("cluster",)
"""Groups of configurations in ``verl_mapo.config`` whose choices are numbers."""

_NUMBERED_CHOICE = re.compile(rf"\A(\+?(?:{'|'.join(NUMBERED_GROUPS)})=)(\d+)\Z")

_WEIGHTS = ("algorithm.gdpo.reward_terms",)
"""Mappings of names to weights. hydra adds a mapping on the command line to the defaults, and never replaces them."""

_PATTERN = re.compile(r"[*?]|\[[^]]+\]|::")
"""What the library ``datasets`` does not read as a part of a file's name."""


def path_override(setting: str, path: Path | str) -> str:
    """The override that gives a setting a path, whatever characters the path has.

    Args:
        setting: dotted path of the setting.
        path: an absolute path.

    Raises:
        ConfigError: the path is not valid Unicode, which hydra cannot write into its record of the configuration.
    """
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ConfigError(
            f"{setting}={text!r} is refused: the path is not valid UTF-8; rename the folder, for example to runs/mapo."
        ) from None
    return f"{setting}={text if _PLAIN.fullmatch(text) else quoted(text)}"


def hydra_folder_override(folder: Path) -> str:
    """The override of the folder into which hydra writes.

    Args:
        folder: an absolute path.

    Raises:
        ConfigError: the path has ``${``: hydra reads the folder a second time, as an interpolation.
    """
    if "${" in str(folder):
        raise ConfigError(
            f"hydra.run.dir={folder} is refused: hydra cannot write into a folder with ${{ in its path; rename it, for "
            "example to runs/mapo."
        )
    return path_override("hydra.run.dir", folder)


def name_groups(overrides: Sequence[str]) -> list[str]:
    """Overrides in which a choice of :data:`NUMBERED_GROUPS` is a text: hydra takes ``cluster=64`` for a number."""
    return [_NUMBERED_CHOICE.sub(r'\1"\2"', text) for text in overrides]


def check_data_path(setting: str, path: Path | str) -> None:
    """Check that the library ``datasets``, with which verl reads data, takes a path for that one file.

    Args:
        setting: the setting or option that gives the path.
        path: path of a file, or of a folder for files.

    Raises:
        ConfigError: the path has characters of a pattern, or ``::``, which joins two locations.
    """
    if _PATTERN.search(str(path)):
        raise ConfigError(
            f"{setting}={path} is refused: verl reads data with the library datasets, which takes *, ?, [...] and :: "
            "for parts of a pattern; rename the file or folder, for example to data/toy."
        )


def make_folder(setting: str, folder: Path) -> None:
    """Make a folder to write to, if it is absent.

    Args:
        setting: the setting or option that gives the folder.
        folder: the folder.

    Raises:
        ConfigError: it is a file, or cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise ConfigError(f"{setting} {folder} is a file: give a folder.") from None
    except OSError as error:
        raise ConfigError(
            f"{setting} {folder} cannot be made: {error.strerror}. Give a folder that you may write to."
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(f"{setting} {folder} is a folder that you may not write to: give another one.")


def in_shell(override: str) -> str:
    """An override as it is written on the command line of a shell."""
    return shlex.quote(override)


def check_overrides(overrides: Sequence[str]) -> None:
    """Check that hydra can read every override as one value, before a run is started.

    Args:
        overrides: arguments of the command line.

    Raises:
        ConfigError: with the form in which hydra reads the text; it is an option that the command does not have; or it
            gives several weights at once, beside which hydra would keep the others.
    """
    for text in overrides:
        if text.startswith("-"):
            raise ConfigError(f"{text} is no option of this command: --help lists those that there are.")
        setting, equals, value = text.partition("=")
        override = _parsed(text)
        if override is not None and not override.is_sweep_override():
            if override.key_or_group in _WEIGHTS and isinstance(override.value(), dict):
                name = override.key_or_group
                raise ConfigError(
                    f"{text} is refused: hydra adds it to the default weights and keeps the others. Set each weight by "
                    f"itself: {name}.format=0, or +{name}.NAME=1 for a name without a default."
                )
            continue
        if not equals:
            raise ConfigError(f"{text} is no override: write SETTING=VALUE, for example data.train_batch_size=128.")
        fault = "does not read it" if override is None else "takes it for several values"
        hint = in_shell(f"{setting}={quoted(value)}")
        raise ConfigError(f"{text} is refused: hydra {fault}. If the whole text is one value, write {hint}")


def last_value(overrides: Sequence[str], setting: str) -> Any:
    """The value that the last override of a setting gives it, as hydra reads it; None without one.

    Args:
        overrides: arguments of the command line.
        setting: dotted path of the setting.
    """
    parsed = [_parsed(text) for text in overrides if text.lstrip("+").startswith(f"{setting}=")]
    return parsed[-1].value() if parsed and parsed[-1] is not None else None


def _parsed(text: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException:
        return None


def quoted(text: str) -> str:
    """A text in quotes for hydra's grammar, with interpolations escaped for OmegaConf.

    Backslashes are literal in both, except right before what they escape: there they are doubled.
    """
    text = re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", text)
    text = re.sub(r'(\\*)(?:"|\Z)', lambda found: 2 * found[1] + (r"\"" if found[0].endswith('"') else ""), text)
    return f'"{text}"'
