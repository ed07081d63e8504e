# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Rows for SFT as dialogues for other trainers, with the texts and images that the agent loop makes of them.

System text, observations and crops are those of the loop for one model and one configuration. Every image is written
at the size at which the model sees it, so that boxes in pixels stay right: the other trainer must not shrink images.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image
from tqdm import tqdm

from verl_mapo.coldstart.dataset import SupervisedDataset
from verl_mapo.coldstart.replay import Replay
from verl_mapo.settings import ConfigError

Trainer = Literal["llamafactory", "ms-swift"]
"""The trainers for which rows are written: LLaMA-Factory (its format sharegpt) and ms-swift."""

_NAME = "verl_mapo"
_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
_IMAGE = re.compile(r"<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>")
_SHAREGPT = {"user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        file: the dialogues, one JSON object in each line.
        rows: number of dialogues.
        most_pixels: number of pixels of the largest image.
    """

    file: Path
    rows: int
    most_pixels: int


def export(rows: SupervisedDataset, out: Path, trainer: Trainer) -> Exported:
    """Write ``train.jsonl``, the images, and for LLaMA-Factory ``dataset_info.json``.

    Args:
        rows: the rows, of which those are written that take part in SFT.
        out: folder to write to.
        trainer: the trainer that is to read them.

    Raises:
        ConfigError: there is no such trainer, no row takes part in SFT, or the model's chat template is not that of
            the Qwen families.
    """
    if trainer not in get_args(Trainer):
        raise ConfigError(f"--to {trainer} is refused: use {' or '.join(get_args(Trainer))}.")
    if not rows.kept:
        counts = ", ".join(f"{reason} {count}" for reason, count in rows.left_out().items())
        raise ConfigError(f"No row can be exported: {counts or 'the file has no rows'}. Give rows that SFT takes.")
    (out / "images").mkdir(parents=True, exist_ok=True)
    file, most = out / "train.jsonl", 0
    with file.open("w", encoding="utf-8") as lines:
        for index in tqdm(rows.kept, desc="Exporting", unit="row"):
            replayed = rows.replay(index)
            images = replayed.output.multi_modal_data.get("images", [])
            most = max([most, *(image.width * image.height for image in images)])
            paths = [str(_written(image, out / "images")) for image in images]
            dialogue = _dialogue(messages_of(replayed, rows.replayer.tokenizer), paths, trainer)
            lines.write(json.dumps(dialogue, ensure_ascii=False) + "\n")
    if trainer == "llamafactory":
        (out / "dataset_info.json").write_text(json.dumps(_INFO, indent=1) + "\n", encoding="utf-8")
    return Exported(file, len(rows.kept), most)


_INFO = {
    _NAME: {
        "file_name": "train.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations", "images": "images", "system": "system"},
    }
}
"""The entry of LLaMA-Factory's ``dataset_info.json``."""


def messages_of(replayed: Replay, tokenizer: Any) -> list[dict[str, str]]:
    """The messages of a replayed row with ``<image>`` for each image, read back from its tokens.

    Raises:
        ConfigError: the tokens are not those of a chat template of the Qwen families.
    """
    text = tokenizer.decode(replayed.token_ids, skip_special_tokens=False)
    found = [{"role": role, "content": _IMAGE.sub("<image>", content)} for role, content in _MESSAGE.findall(text)]
    roles = [message["role"] for message in found]
    images = replayed.output.multi_modal_data.get("images", [])
    marks = sum(message["content"].count("<image>") for message in found)
    if roles != ["system", *["user", "assistant"] * (len(roles) // 2)] or marks != len(images):
        raise ConfigError(
            f"The model's chat template gives the roles {', '.join(roles)} and {marks} images of {len(images)}: an "
            "export needs the template of a Qwen-VL model, with a system message and then users and assistants in turn."
        )
    return found


def _dialogue(messages: list[dict[str, str]], images: list[str], trainer: Trainer) -> dict[str, Any]:
    if trainer == "ms-swift":
        return {"messages": messages, "images": images}
    system, *rest = messages
    turns = [{"from": _SHAREGPT[message["role"]], "value": message["content"]} for message in rest]
    return {"conversations": turns, "system": system["content"], "images": images}


def _written(image: Image.Image, folder: Path) -> Path:
    """The file of an image, written once by its pixels."""
    name = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()[:40]
    path = folder / f"{name}.png"
    if not path.exists():
        draft = folder / f".{name}.png"
        image.save(draft)
        draft.replace(path)
    return path
