# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The models of the default toy, which ship with the package: a warm-started Qwen2.5-VL and the tiny CLIP.

``python scripts/ship_toy.py`` trains them and writes the folder ``models``: one folder for each model, ``SHA256SUMS``
with the checksum of every file, and ``trained_with.json`` with what the bytes depend on beside the code. Each model's
``made_by.json`` holds the settings that it was made by. A toy with other settings, which include the texts of the
prompts, never gets these models.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from pathlib import Path

import torch
import transformers

MODELS = Path(__file__).with_name("models")
MADE_BY, SUMS, TRAINED_WITH = "made_by.json", "SHA256SUMS", "trained_with.json"


def checksums(name: str, made_by: str, models: Path = MODELS) -> dict[str, str] | None:
    """SHA-256 by file of a model that ships with the package.

    Args:
        name: name of the model, such as ``qwen2_5_vl-full``.
        made_by: the settings of the wanted model, as the text of its ``made_by.json``.
        models: folder of the shipped models.

    Returns:
        None if no model of this name was made by these settings.

    Raises:
        ValueError: the files are not those that were written.
    """
    folder = models / name
    if not (folder / MADE_BY).is_file() or (folder / MADE_BY).read_text() != made_by:
        return None
    lines = (line.split("  ", 1) for line in (models / SUMS).read_text().splitlines())
    written = {file.removeprefix(f"{name}/"): digest for digest, file in lines if file.startswith(f"{name}/")}
    if written != _digests(folder):
        raise ValueError(
            f"{folder} is damaged: its files do not have the checksums in {models / SUMS}. "
            "Install the package again, or train the models with verl-mapo toy --retrain."
        )
    return written


def copy(name: str, out: Path, models: Path = MODELS) -> None:
    """Copy the files of a shipped model into a folder that exists."""
    shutil.copytree(models / name, out, dirs_exist_ok=True)


def write(trained: dict[str, Path], models: Path) -> None:
    """Replace the folder of the shipped models.

    Args:
        trained: name of each model to the folder of the trained model.
        models: the folder to write.
    """
    shutil.rmtree(models, ignore_errors=True)
    for name, folder in trained.items():
        shutil.copytree(folder, models / name)
    sums = sorted((f"{name}/{file}", digest) for name in trained for file, digest in _digests(models / name).items())
    (models / SUMS).write_text("".join(f"{digest}  {file}\n" for file, digest in sums))
    (models / TRAINED_WITH).write_text(json.dumps(trained_with(), indent=1) + "\n")


def trained_with() -> dict[str, str]:
    """What the bytes of a trained model depend on beside the code: where all of it is equal, so are the bytes."""
    return {
        "torch": torch.__version__.partition("+")[0],
        "transformers": transformers.__version__,
        "machine": platform.machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a folder."""
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}
