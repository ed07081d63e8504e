# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""verl's dataset, whose rows carry paths of their images, so that no pixel travels with a row.

verl opens images that come as bytes in the process of the trainer, and copies the pixels with every rollout. These
classes write the pictures that a row embeds to files (:class:`verl_mapo.rollout.picture_files.PictureFiles`) and hand
on their paths. Rows of the visual tools are read by this package from there on, so that a broken image ends its own
rollouts; those of verl's own agent loops are read by verl, as it always does.
"""

from __future__ import annotations

import base64
import copy
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import datasets
from datasets.exceptions import DatasetsError
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import ConfigKeyError
from PIL import Image
from pyarrow import ArrowInvalid
from verl.utils.dataset.rl_dataset import RLHFDataset
from verl.utils.tokenizer import build_multimodal_processor_inputs

from verl_mapo import names
from verl_mapo.names import AUDIT_PICTURE, AUDIT_TRUTH
from verl_mapo.rollout.images import processor_kwargs
from verl_mapo.rollout.picture_files import PictureFiles
from verl_mapo.rollout.plain_text import PlainText
from verl_mapo.rollout.prompt_length import PromptLength
from verl_mapo.rollout.row_messages import check_marks, medium_of
from verl_mapo.rollout.row_pictures import SIZE_KEYS, is_filled, source_of
from verl_mapo.settings import ConfigError, local_path, select

logger = logging.getLogger(__name__)

UNREADABLE = (DatasetsError, ArrowInvalid, StopIteration)
"""What ``datasets`` raises for a file that is cut short, of another format, or empty (StopIteration: JSON)."""


_DRAWS = 32
"""Rows that are tried until one has another picture."""


def unreadable_file(files: object, error: BaseException) -> ConfigError:
    """The error of a data file that cannot be read.

    Args:
        files: path or paths of the data.
        error: what ``datasets`` raised, such as one of :data:`UNREADABLE`.
    """
    reason = " ".join(str(error.__cause__ or error).split()) or "it is empty"
    if "corresponds to no data" in reason:
        reason = "it has no rows"
    return ConfigError(
        f"{names.TRAIN_FILES} or {names.VAL_FILES}={files} cannot be read ({reason:.200}): give a whole parquet, JSON "
        "or JSONL file of rows, such as verl-mapo data convert or collect writes."
    )


class PathDataset(RLHFDataset):
    """verl's dataset, whose messages name their images by a path, in the place of the pixels that verl has read.

    Attributes:
        files: the pictures that the rows embed, as files in ``data.picture_dir``; by default in the folder ``pictures``
            of verl's ``data.cache_dir``.
    """

    def __getitem__(self, item: int) -> dict[str, Any]:
        """See verl's method.

        Raises:
            ConfigError: ``data.picture_dir`` cannot be written.
        """
        row = super().__getitem__(item)
        messages = [self._lean_message(message) for message in row.pop("raw_prompt")]
        row.pop(self.prompt_key, None)  # verl's method changes it to the same messages
        return {**row, "raw_prompt": messages, self.prompt_key: messages}

    def check_files(self) -> None:
        """Store the pictures of the first row, so that a folder that cannot be written stops a run at its start.

        Raises:
            ConfigError: ``data.picture_dir`` cannot be written.
        """
        if len(self):
            self[0]

    @cached_property
    def files(self) -> PictureFiles:
        folder = self.config.get(names.PICTURE_DIR.removeprefix("data.")) or Path(self.cache_dir) / "pictures"
        return PictureFiles(local_path(folder).absolute())

    def _lean_message(self, message: dict[str, Any]) -> dict[str, Any]:
        content = message.get("content")
        return {**message, "content": [self._lean_part(part) for part in content]} if _is_list(content) else message

    def _lean_part(self, part: Any) -> Any:
        medium = medium_of(part)
        if medium == "text":
            return part
        if medium != "image" or "image" not in part:
            return self.files.lean(part)
        further = {name: value for name, value in part.items() if name != "image"}
        return {**self.files.lean(further), "image": self.files.path_of(part["image"])}


class RowDataset(PathDataset):
    """The dataset of the visual tools: every form of a picture is read, and no column of a row embeds one.

    Attributes:
        audited: gives the first accepted answer of a row whose rollouts are audited, and an empty text for any other
            row; None for training data, whose rows have no fields for it.
    """

    audited: Callable[[Mapping[str, Any]], str] | None = None

    def __getitem__(self, item: int) -> dict[str, Any]:
        """See :class:`PathDataset`."""
        row = super().__getitem__(item)
        messages = row["raw_prompt"]
        columns = {name: value for name, value in row.items() if value is not messages}
        row = {**self.files.lean(columns), "raw_prompt": messages, self.prompt_key: messages}
        if self.audited is None:
            return row
        truth = self.audited(row)
        return row | {AUDIT_TRUTH: truth, AUDIT_PICTURE: self._other_picture(item, row) if truth else ""}

    def _other_picture(self, item: int, row: dict[str, Any]) -> str:
        """The path of another row's picture; empty where a few draws give none.

        Rows follow each other that ask about the same picture, so it is drawn from all of them, by the row's place.
        """
        pictures, random = _pictures(row["raw_prompt"]), Random(item)
        for _ in range(_DRAWS if pictures else 0):
            messages = self._build_messages(dict(self.dataframe[random.randrange(len(self))]), self.prompt_key)
            found = _pictures([self._lean_message(message) for message in messages])
            if found and found[0] not in pictures:
                return found[0]
        return ""

    def maybe_filter_out_long_prompts(self, dataframe: datasets.Dataset | None = None) -> datasets.Dataset:
        """The rows without those whose prompts are too long, if ``data.filter_overlong_prompts`` is set.

        The features that decode an image are replaced by those that hold its bytes. verl's own method leaves out every
        row that it cannot read, too. Here such a row is kept: it is refused at the start, or its rollouts end alone.
        """
        self.mm_processor_kwargs = processor_kwargs(self.config)
        dataframe.info.features = undecoded(dataframe.features)
        if not self.filter_overlong_prompts or self.processor is None:
            return super().maybe_filter_out_long_prompts(dataframe)
        title = f"Filtering prompts longer than {self.max_prompt_length} tokens"
        kept = dataframe.filter(self._fits, num_proc=self.num_workers, desc=title)
        if left_out := len(dataframe) - len(kept):
            logger.warning(
                "%d of %d rows are left out, because their prompts have more than data.max_prompt_length=%d tokens.",
                left_out,
                len(dataframe),
                self.max_prompt_length,
            )
        return kept

    def _fits(self, row: dict[str, Any]) -> bool:
        """Whether the prompt of a row is short enough, as its agent loop would show it, or cannot be read."""
        try:
            messages = self._build_messages(row, self.prompt_key)
            if self._shown_by_visual_tools(row):
                return self._prompt_length(messages) <= self.max_prompt_length
            text = self.processor.apply_chat_template(
                messages, add_generation_prompt=True, tokenize=False, **self.apply_chat_template_kwargs
            )
            images, videos, audios = self._process_multi_modal_info(messages, self.image_patch_size, self.config)
            inputs = build_multimodal_processor_inputs(
                self.processor,
                text=[text],
                images=images,
                videos=videos,
                audio=audios,
                mm_processor_kwargs=self.mm_processor_kwargs,
            )
        except Exception:  # of any library that reads a row; the row is read again at the start and in its rollouts
            return True
        return len(inputs["input_ids"][0]) <= self.max_prompt_length

    def _shown_by_visual_tools(self, row: Mapping[str, Any]) -> bool:
        default = None if self._run is None else select(self._run, names.DEFAULT_AGENT_LOOP)
        return default is not None and (row.get("agent_name") or default) == names.AGENT_LOOP

    @property
    def _run(self) -> DictConfig | None:
        """The whole configuration, around the node ``data`` that verl gives to this class; None if there is none."""
        with suppress(ConfigKeyError):
            return OmegaConf.select(self.config, "..")
        return None

    @cached_property
    def _prompt_length(self) -> PromptLength:
        return PromptLength(self._run, self.tokenizer, self.processor)

    def _build_messages(self, example: dict[str, Any], key: str) -> list[dict[str, Any]]:
        """See verl's method.

        Raises:
            UnreadableImage: the row has another number of ``<image>`` than of images.
        """
        keys = {"image": self.image_key, "video": self.video_key, "audio": self.audio_key}
        check_marks(example[key], {medium: len(example.get(column) or ()) for medium, column in keys.items()})
        images = [plain_image(image) for image in example.get(self.image_key) or []]
        messages = super()._build_messages({**example, self.image_key: images}, key)
        for message in messages:
            if isinstance(message.get("content"), list):
                message["content"] = [plain_part(part) for part in message["content"]]
        return self._plain_text.messages(messages)

    @cached_property
    def _plain_text(self) -> PlainText:
        return PlainText(self.tokenizer)


def use_row_dataset(config: DictConfig) -> None:
    """Make verl read the data with one of these classes, where no other is set."""
    custom, visual = config.data.custom_cls, select(config, names.DEFAULT_AGENT_LOOP) == names.AGENT_LOOP
    if custom.get("path") is None:
        with open_dict(custom):
            custom.path, custom.name = f"pkg://{__name__}", (RowDataset if visual else PathDataset).__name__


def _pictures(messages: list[dict[str, Any]]) -> list[str]:
    """The paths of the pictures of messages, in order."""
    parts = [part for message in messages if _is_list(message["content"]) for part in message["content"]]
    return [part["image"] for part in parts if medium_of(part) == "image" and isinstance(part["image"], str)]


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def plain_image(image: Any) -> Any:
    """An image of a row with its picture under the key ``image``: a text where it has one, bytes as a data URI.

    Args:
        image: an entry of the column of images, or a part of a message, in any form that
            :func:`verl_mapo.rollout.row_pictures.source_of` reads.

    Returns:
        A dict, whose ``image`` is empty if there is none; an image in no such form is returned as it is.
    """
    if not isinstance(image, Mapping):
        if image is not None and not isinstance(image, str | bytes | Image.Image):
            return image
        image = {"image": image}
    source = source_of(image)
    if isinstance(source, bytes):
        source = f"data:image;base64,{base64.b64encode(source).decode('ascii')}"
    sizes = {name: image[name] for name in SIZE_KEYS if image.get(name) is not None}
    return {"image": "" if source is None else source, **sizes}


def plain_part(part: Any) -> Any:
    """A part of a message without empty keys, and with :func:`plain_image` of its image."""
    if not isinstance(part, Mapping):
        return part
    if medium_of(part) == "image":
        return {"type": "image", **plain_image(part)}
    return {name: value for name, value in part.items() if value == "" or is_filled(value)}


def undecoded(feature: Any) -> Any:
    """A feature of ``datasets`` in which images are not decoded."""
    if isinstance(feature, datasets.Image):
        return datasets.Image(decode=False)
    if isinstance(feature, dict):
        return type(feature)({name: undecoded(part) for name, part in feature.items()})
    if isinstance(feature, list):
        return [undecoded(part) for part in feature]
    if hasattr(feature, "feature"):
        feature = copy.copy(feature)
        feature.feature = undecoded(feature.feature)
    return feature
