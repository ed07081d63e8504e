# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The check of ``trainer.logger``: verl makes its loggers after all engines are up, where a missing key ends the run.

No logger is imported and no server is asked: the check looks for the package and for a place that may hold the key.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Mapping
from configparser import ConfigParser, Error
from dataclasses import dataclass
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlparse

from omegaconf import DictConfig, ListConfig

from verl_mapo import names
from verl_mapo.settings import ConfigError, local_path, select


@dataclass(frozen=True)
class Backend:
    """What one of verl's loggers needs.

    Attributes:
        package: the module that verl imports for it; empty for a logger of verl itself.
        has_key: whether this process can find its key; None for a logger that needs none.
        remedy: how to give it the key, as the beginning of a sentence.
    """

    package: str = ""
    has_key: Callable[[], bool] | None = None
    remedy: str = ""

    @property
    def fault(self) -> str:
        """What is missing and how to get it, as the middle of a sentence; empty when nothing is missing."""
        if self.package and importlib.util.find_spec(self.package) is None:
            distribution = "volcengine-ml-platform" if self.package == "volcengine_ml_platform" else self.package
            return f"the package {self.package} is not installed: pip install {distribution.replace('_', '-')}"
        if self.has_key is not None and not self.has_key():
            return f"no key for it is found: {self.remedy}"
        return ""


def _set(*variables: str) -> bool:
    return all(os.environ.get(variable) for variable in variables)


def _has_wandb_key() -> bool:
    """Whether wandb is offline, or finds a key where ``wandb login`` and its documentation put one."""
    settings: dict[str, str] = {}
    home = local_path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb"))
    for file in (home / "settings", Path(os.environ.get("WANDB_DIR", ".")) / "wandb" / "settings"):
        parser = ConfigParser(interpolation=None)
        try:
            parser.read(file)
            settings |= dict(parser["default"]) if parser.has_section("default") else {}
        except Error:
            return True  # wandb itself says what is wrong with the file
    mode = os.environ.get("WANDB_MODE") or settings.get("mode") or "online"
    off = os.environ.get("WANDB_DISABLED") or settings.get("disabled", "")
    if mode != "online" or off.lower() in ("true", "1") or _set("WANDB_API_KEY") or _set("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    url = os.environ.get("WANDB_BASE_URL") or settings.get("base_url") or "https://api.wandb.ai"
    return "api_key" in settings or _in_netrc(urlparse(url).hostname or "")


def _in_netrc(host: str) -> bool:
    files = [os.environ["NETRC"]] if "NETRC" in os.environ else ["~/.netrc", "~/_netrc"]
    for file in (local_path(file) for file in files):
        try:
            if host in netrc(file).hosts:
                return True
        except (OSError, NetrcParseError):
            continue
    return False


def _has_swanlab_key() -> bool:
    folder = local_path(os.environ.get("SWANLAB_SAVE_DIR", "~/.swanlab"))
    offline = os.environ.get("SWANLAB_MODE", "cloud") != "cloud"
    return offline or _set("SWANLAB_API_KEY") or (folder / ".netrc").is_file()


def _has_clearml_key() -> bool:
    file = local_path(os.environ.get("CLEARML_CONFIG_FILE", "~/clearml.conf"))
    keys = _set("CLEARML_API_ACCESS_KEY", "CLEARML_API_SECRET_KEY")
    return keys or _set("CLEARML_OFFLINE_MODE") or file.is_file()


_VOLCANO = ("VOLC_ACCESS_KEY_ID", "VOLC_SECRET_ACCESS_KEY", "MLP_TRACKING_REGION")

_WANDB = Backend("wandb", _has_wandb_key, "run wandb login, or set WANDB_API_KEY, or WANDB_MODE=offline")

BACKENDS: Mapping[str, Backend] = {
    "console": Backend(),
    "file": Backend(),
    "wandb": _WANDB,
    "tracking": _WANDB,
    "tensorboard": Backend("tensorboard"),
    "swanlab": Backend("swanlab", _has_swanlab_key, "run swanlab login, or set SWANLAB_API_KEY, or SWANLAB_MODE=local"),
    "mlflow": Backend("mlflow"),
    "clearml": Backend("clearml", _has_clearml_key, "run clearml-init, or set CLEARML_API_ACCESS_KEY and _SECRET_KEY"),
    "trackio": Backend("trackio"),
    "rl_insight": Backend("rl_insight"),
    "vemlp_wandb": Backend("volcengine_ml_platform", lambda: _set(*_VOLCANO), f"set {', '.join(_VOLCANO)}"),
}
"""verl's loggers by the name in ``trainer.logger``; ``tracking`` is an old name of wandb."""


def loggers(config: DictConfig) -> list[str]:
    """The names in ``trainer.logger``, which may be one name or a list.

    Raises:
        ConfigError: it is neither, at which verl would stop when all engines are up.
    """
    given = select(config, names.LOGGER)
    if isinstance(given, str):
        return [given]
    if not isinstance(given, ListConfig):
        given = "null" if given is None else given
        raise ConfigError(f"{names.LOGGER}={given} is refused: give a list, such as {names.LOGGER}=[console,file].")
    return [str(name) for name in given]


def check_loggers(config: DictConfig) -> None:
    """Check that verl knows every logger of a run, and that its package and its key are there.

    Raises:
        ConfigError: with one sentence for every logger that would end the run.
    """
    given = loggers(config)
    shown = select(config, names.LOGGER)
    setting = f"{names.LOGGER}={shown if isinstance(shown, str) else '[' + ','.join(given) + ']'}"
    parts = [part.strip() for name in given for part in name.split(",")]
    right = [name for name in parts if name in BACKENDS and not BACKENDS[name].fault] or ["console", "file"]
    remedy = f"set {names.LOGGER}=[{','.join(right)}]"
    known = ", ".join(name for name in BACKENDS if name != "tracking")
    unknown = [name for name in given if name not in BACKENDS]
    sentences = [f"{setting} asks for {name!r}, which is none of {known}: {remedy}." for name in unknown]
    for name in given:
        if name in BACKENDS and (fault := BACKENDS[name].fault):
            sentences.append(f"{setting} asks for {name}, but {fault}, or {remedy}.")
    if sentences:
        raise ConfigError(" ".join(sentences))
