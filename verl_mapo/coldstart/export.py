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
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from PIL import Image
from tqdm import tqdm

from verl_mapo.coldstart.dataset import SupervisedDataset
from verl_mapo.coldstart.replay import Replay
from verl_mapo.run_lock import LOCK, locked
from verl_mapo.settings import ConfigError

Trainer = Literal["llamafactory", "ms-swift"]
"""The trainers for which rows are written: LLaMA-Factory (its format sharegpt) and ms-swift."""

_NAME = "verl_mapo"
_MESSAGE = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", re.DOTALL)
_IMAGE = re.compile(r"<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>")
_MARK = re.compile(r"<(?:image|video|audio)>")
"""What both trainers read as the place of a file, wherever it stands."""
_SHAREGPT = {"user": "human", "assistant": "gpt"}


@dataclass(frozen=True)
class Exported:
    """The result of an export.

    Attributes:
        file: the dialogues, one JSON object in each line.
        rows: number of dialogues.
        most_pixels: number of pixels of the largest image.
        left_out: number of rows by the reason why they became no dialogue, among those that SFT takes.
    """

    file: Path
    rows: int
    most_pixels: int
    left_out: Mapping[str, int] = field(default_factory=dict)


class NoDialogue(ValueError):
    """A row has no dialogue that other trainers read as the loop does.

    Args:
        reason: ``marks_in_text`` or ``other_roles``.
        detail: what is wrong with this row, in words.
    """

    def __init__(self, reason: str, detail: str):
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def export(rows: SupervisedDataset, out: Path, trainer: Trainer) -> Exported:
    """Write ``train.jsonl``, the images, ``left_out.jsonl``, and for LLaMA-Factory ``dataset_info.json``.

    A row that has no dialogue (:func:`messages_of`) is left out, counted by reason, and named in ``left_out.jsonl``.

    Args:
        rows: the rows, of which those are written that take part in SFT.
        out: folder to write to.
        trainer: the trainer that is to read them.

    Raises:
        ConfigError: there is no such trainer, ``out`` is in use or holds rows, no row takes part in SFT, or no row has
            a dialogue, as with a chat template that is not that of the Qwen families.
    """
    if trainer not in get_args(Trainer):
        raise ConfigError(f"--to {trainer} is refused: use {' or '.join(get_args(Trainer))}.")
    if not rows.kept:
        counts = ", ".join(f"{reason} {count}" for reason, count in rows.left_out().items())
        raise ConfigError(f"No row can be exported: {counts or 'the file has no rows'}. Give rows that SFT takes.")
    if (out / "train.parquet").exists():
        raise ConfigError(f"--out {out} is refused: it holds rows. Give another folder, for example {out}-{trainer}.")
    with locked(out / LOCK):
        return _export(rows, out, trainer)


def _export(rows: SupervisedDataset, out: Path, trainer: Trainer) -> Exported:
    (out / "images").mkdir(exist_ok=True)
    file, draft, most, left_out = out / "train.jsonl", out / ".train.jsonl", 0, []
    with draft.open("w", encoding="utf-8") as lines:
        for index in tqdm(rows.kept, desc="Exporting", unit="row"):
            replayed = rows.replay(index)
            try:
                messages = messages_of(replayed, rows.replayer.tokenizer)
            except NoDialogue as error:
                left_out.append({"row": index, "reason": error.reason, "detail": error.detail})
                continue
            images = replayed.output.multi_modal_data.get("images", [])
            most = max([most, *(image.width * image.height for image in images)])
            paths = [str(_written(image, out / "images")) for image in images]
            lines.write(json.dumps(_dialogue(messages, paths, trainer), ensure_ascii=False) + "\n")
    draft.replace(file)
    listed = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in left_out)
    (out / "left_out.jsonl").write_text(listed, encoding="utf-8")
    if len(left_out) == len(rows.kept):
        raise ConfigError(f"No row can be exported. Row {left_out[0]['row']}: {left_out[0]['detail']}")
    if trainer == "llamafactory":
        (out / "dataset_info.json").write_text(json.dumps(_INFO, indent=1) + "\n", encoding="utf-8")
    return Exported(file, len(rows.kept) - len(left_out), most, Counter(entry["reason"] for entry in left_out))


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

    A row without images has no tools, and therefore no system message with some templates.

    Raises:
        NoDialogue: ``marks_in_text``, a text has ``<image>``, ``<video>`` or ``<audio>``, which trainers replace by a
            file; ``other_roles``, the messages are not those of a chat template of the Qwen families: a system message
            or none, and then users and assistants in turn.
    """
    text = tokenizer.decode(replayed.token_ids, skip_special_tokens=False)
    found = _MESSAGE.findall(text)
    for role, content in found:
        if said := _MARK.search(_IMAGE.sub(" ", content)):
            raise NoDialogue("marks_in_text", f"A message of the {role} has {said.group()} in its text.")
    messages = [{"role": role, "content": _IMAGE.sub("<image>", content)} for role, content in found]
    roles = [message["role"] for message in messages]
    turns = roles[1:] if roles[:1] == ["system"] else roles
    images = len(replayed.output.multi_modal_data.get("images", []))
    marks = sum(message["content"].count("<image>") for message in messages)
    if not turns or turns != ["user", "assistant"] * (len(turns) // 2) or marks != images:
        raise NoDialogue(
            "other_roles",
            f"The model's chat template gives the roles {', '.join(roles) or 'none'} and {marks} images of {images}: "
            "an export needs the template of a Qwen-VL model, with a system message or none, and then users and "
            "assistants in turn.",
        )
    return messages


def _dialogue(messages: list[dict[str, str]], images: list[str], trainer: Trainer) -> dict[str, Any]:
    if trainer == "ms-swift":
        return {"messages": messages, "images": images}
    system = "".join(message["content"] for message in messages if message["role"] == "system")
    said = [message for message in messages if message["role"] != "system"]
    turns = [{"from": _SHAREGPT[message["role"]], "value": message["content"]} for message in said]
    return {"conversations": turns, "system": system, "images": images}


def _written(image: Image.Image, folder: Path) -> Path:
    """The file of an image, written once by its pixels."""
    name = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()[:40]
    path = folder / f"{name}.png"
    if not path.exists():
        draft = folder / f".{name}.png"
        image.save(draft)
        draft.replace(path)
    return path
