# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Loggers whose package or key is missing are refused before anything is started."""

from __future__ import annotations

import importlib.util
import os
import re

import pytest
from support.scripted import compose_config
from verl.utils.tracking import Tracking

from verl_mapo.settings import ConfigError
from verl_mapo.training import logger_checks
from verl_mapo.training.config_checks import check_config
from verl_mapo.training.logger_checks import BACKENDS, check_loggers


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home and a working folder without any key."""
    for name in os.environ:
        if name.partition("_")[0] in ("WANDB", "SWANLAB", "CLEARML", "VOLC", "MLP") or name == "NETRC":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def installed(monkeypatch):
    """Every package is there."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)


def with_loggers(*names: str):
    return compose_config(f"trainer.logger=[{','.join(names)}]")


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_every_logger_of_verl_is_known():
    assert set(BACKENDS) == {*Tracking.supported_backend, "tracking"}


def test_run_logs_to_the_console_and_a_file_by_default():
    config = compose_config()
    assert list(config.trainer.logger) == ["console", "file"]
    check_config(config)


@pytest.mark.parametrize("value", ["null", "7", "true"])
def test_what_is_no_list_of_loggers_is_refused(value):
    with pytest.raises(ConfigError, match=r"^trainer.logger=.* is refused: give a list, such as .*=\[console,file\]"):
        check_config(compose_config(f"trainer.logger={value}"))


def test_wandb_without_a_key_is_refused_in_one_sentence():
    with pytest.raises(ConfigError) as error:
        check_config(with_loggers("console", "wandb"))
    assert str(error.value) == (
        "trainer.logger=[console,wandb] asks for wandb, but no key for it is found: run wandb login, or set "
        "WANDB_API_KEY, or WANDB_MODE=offline, or set trainer.logger=[console]."
    )


@pytest.mark.parametrize(
    "variables",
    [
        {"WANDB_API_KEY": "x" * 40},
        {"WANDB_MODE": "offline"},
        {"WANDB_MODE": "disabled"},
        {"WANDB_DISABLED": "true"},
        {"WANDB_IDENTITY_TOKEN_FILE": "token"},
    ],
)
def test_wandb_with_a_key_or_offline_passes(installed, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    check_loggers(with_loggers("wandb"))


@pytest.mark.parametrize(
    ("file", "text", "passes"),
    [
        (".netrc", "machine api.wandb.ai login user password abc", True),
        (".netrc", "machine example.org login user password abc", False),
        (".netrc", "no netrc at all", False),
        ("wandb/settings", "[default]\nmode = offline\n", True),
        (".config/wandb/settings", "[default]\napi_key = abc\n", True),
        (".config/wandb/settings", "[default]\nentity = me\n", False),
    ],
)
def test_files_in_which_wandb_keeps_a_key_are_read(home, file, text, passes):
    write(home / file, text)
    if passes:
        check_loggers(with_loggers("wandb"))
    else:
        with pytest.raises(ConfigError, match="wandb login"):
            check_loggers(with_loggers("wandb"))


def test_key_of_another_wandb_server_counts_for_that_server(home, monkeypatch):
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    write(home / ".netrc", "machine wandb.example.org login user password abc")
    check_loggers(with_loggers("wandb"))


@pytest.mark.parametrize("name", [name for name, backend in BACKENDS.items() if backend.package])
def test_logger_whose_package_is_missing_is_refused(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(ConfigError) as error:
        check_loggers(with_loggers("console", name))
    text = str(error.value)
    assert f"asks for {name}, but the package {BACKENDS[name].package} is not installed: pip install" in text
    assert text.endswith("or set trainer.logger=[console].")


@pytest.mark.parametrize("name", [name for name, backend in BACKENDS.items() if backend.has_key])
def test_logger_whose_key_is_missing_is_refused(installed, name):
    with pytest.raises(ConfigError, match=f"asks for {name}, but no key for it is found: .*set trainer.logger="):
        check_loggers(with_loggers("file", name))


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("swanlab", {"SWANLAB_API_KEY": "k"}),
        ("swanlab", {"SWANLAB_MODE": "local"}),
        ("clearml", {"CLEARML_API_ACCESS_KEY": "k", "CLEARML_API_SECRET_KEY": "s"}),
        ("vemlp_wandb", dict.fromkeys(logger_checks._VOLCANO, "k")),
        *((name, {}) for name in ("tensorboard", "mlflow", "trackio", "rl_insight", "console", "file")),
    ],
)
def test_logger_with_all_that_it_needs_passes(installed, monkeypatch, name, variables):
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    check_loggers(with_loggers(name))


def test_unknown_logger_and_every_fault_is_named():
    with pytest.raises(ConfigError) as error:
        check_loggers(with_loggers("wandbb", "wandb", "console"))
    assert "asks for 'wandbb', which is none of console, file, wandb" in str(error.value)
    assert "asks for wandb, but no key" in str(error.value)


@pytest.mark.parametrize(
    ("given", "shown", "proposed"),
    [
        ("[clearml,wandb]", "[clearml,wandb]", "[console,file]"),
        ("[clearml,file,wandb]", "[clearml,file,wandb]", "[file]"),
        ("'console,file'", "console,file", "[console,file]"),
    ],
)
def test_what_is_proposed_is_accepted(installed, given, shown, proposed):
    with pytest.raises(ConfigError) as error:
        check_loggers(compose_config(f"trainer.logger={given}"))
    assert str(error.value).startswith(f"trainer.logger={shown} asks for ")
    assert set(re.findall(r"set trainer.logger=(\[.*?\])", str(error.value))) == {proposed}
    check_loggers(compose_config(f"trainer.logger={proposed}"))


def test_a_single_name_is_a_logger():
    with pytest.raises(ConfigError, match=r"trainer.logger=wandb asks.*set trainer.logger=\[console,file\]"):
        check_loggers(compose_config("trainer.logger=wandb"))
