# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The sizes at which the supported model families see images: of released models, or of a model in a folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig

from verl_mapo.names import MODEL_PATH
from verl_mapo.rollout.images import ProcessorResize, processor_kwargs, processor_resizes
from verl_mapo.rollout.settings import VisualToolSettings
from verl_mapo.settings import ConfigError, parse, select

_FILES = ("preprocessor_config.json", "processor_config.json")
"""Files of a model that hold the settings of its image processor; transformers 5 writes the second."""


@dataclass(frozen=True)
class Family:
    """How models of a family see images.

    Attributes:
        name: the family, or the name of the model's folder.
        token_side: pixels along one image token: patch size times merge size.
        limits: smallest and largest number of pixels of an image, from the model's preprocessor_config.json.
        model_type: of config.json.
    """

    name: str
    token_side: int
    limits: tuple[int, int]
    model_type: str

    @classmethod
    def of_folder(cls, folder: Path) -> Family:
        """The model in a folder. No weight is read, and transformers is not imported.

        Raises:
            ConfigError: the folder lacks a file, or its image processor is none of the Qwen families.
        """
        model_type = json_file(folder / "config.json", folder).get("model_type", "")
        file = next((folder / name for name in _FILES if (folder / name).is_file()), folder / _FILES[0])
        held = json_file(file, folder)
        held = held.get("image_processor", held)
        size = held.get("size") or {}
        limits = tuple(
            held.get(old) or size.get(new)
            for old, new in (("min_pixels", "shortest_edge"), ("max_pixels", "longest_edge"))
        )
        if not all(limits) or not (held.get("patch_size") and held.get("merge_size")):
            raise ConfigError(
                f"--model {folder} has no patch_size, merge_size and limits of pixels in {file.name}: give a model of "
                "the families Qwen2.5-VL, Qwen3-VL or Qwen3.5."
            )
        return cls(folder.name, held["patch_size"] * held["merge_size"], limits, model_type)

    def resize(self, config: DictConfig) -> ProcessorResize:
        """The resize of an original in a run.

        Args:
            config: the whole configuration; ``visual_tool`` and ``data.mm_processor_kwargs`` are read.

        Raises:
            ConfigError: the run's limits leave no size for some images.
        """
        size = {"shortest_edge": self.limits[0], "longest_edge": self.limits[1]}
        processor = SimpleNamespace(patch_size=self.token_side, merge_size=1, size=size)
        settings = parse(VisualToolSettings, config)
        return processor_resizes(settings, processor, processor_kwargs(config.data))[0]


RELEASED = (
    Family("Qwen2.5-VL", 28, (4 * 28**2, 16384 * 28**2), "qwen2_5_vl"),
    Family("Qwen3-VL", 32, (64 * 32**2, 16384 * 32**2), "qwen3_vl"),
    Family("Qwen3.5", 32, (64 * 32**2, 16384 * 32**2), "qwen3_5"),
)
"""The families of released models, with the limits of their preprocessor_config.json."""


def families_of(config: DictConfig) -> tuple[Family, ...]:
    """The family of a run's model, by the name of the model or the config.json in its folder; all where neither tells.

    Args:
        config: the whole configuration; only the path of the model is read.

    Raises:
        ConfigError: the model's folder has a config.json that cannot be read.
    """
    path = Path(str(select(config, MODEL_PATH, "")))
    model_type = str(json_file(path / "config.json", path).get("model_type", "")) if _is_model(path) else ""
    found = [each for each in RELEASED if each.name in str(path) or model_type.startswith(each.model_type)]
    return tuple(found) or RELEASED


def _is_model(path: Path) -> bool:
    return (path / "config.json").is_file()


def json_file(file: Path, folder: Path) -> dict[str, Any]:
    """The object in a JSON file of a model's folder.

    Raises:
        ConfigError: there is no such file, or it holds no JSON object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"--model {folder} has no readable {file.name} ({type(error).__name__}): give the folder of a model with "
            "its tokenizer.json, config.json and preprocessor_config.json; weights are not needed."
        ) from None
    if not isinstance(found, dict):
        raise ConfigError(f"--model {folder}: {file.name} holds no JSON object.")
    return found
