# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""ViRL39K: 38,870 questions about images with verifiable answers."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from verl_mapo.data.base import DataSet, ImagePath, Row, read_examples
from verl_mapo.settings import ConfigError

INSTRUCTION = "\nThink step by step, and put the answer in \\boxed{}."
"""Appended to every question [ours]."""

MAX_PIXELS = 1280 * 28 * 28
"""Largest image: 1,280 tokens of Qwen2.5-VL [ours]; without a limit, one large image fills the prompt."""


class ViRL39K(DataSet):
    """38,870 questions about images with verifiable answers (mathematics, science, charts, documents, spatial).

    The published columns are ``question``, with one ``<image>`` for each image; ``image``, a list of paths in
    ``images.zip``; ``answer``, mostly inside ``\\boxed{}``; ``qid``, ``category``, ``source``, and two pass rates. The
    answer is compared with ``style: math``.
    """

    name = "ViRL39K"
    hub_id = "TIGER-Lab/ViRL39K"
    extra_info: ClassVar[dict[str, pa.DataType]] = {"qid": pa.string(), "category": pa.string()}

    def rows(self, source: Path) -> Iterator[Row]:
        """Read the data set; ``images.zip`` is unpacked next to itself unless the folder ``images`` exists.

        Raises:
            ConfigError: an image does not exist, or a question has another number of ``<image>`` than of images.
        """
        archive, images = source / "images.zip", source / "images"
        if archive.exists() and not images.exists():
            draft = source / ".images"
            with zipfile.ZipFile(archive) as file:
                file.extractall(draft)
            (draft / "images").rename(images)  # an interrupted unpacking leaves no folder images
        for index, example in enumerate(read_examples(source)):
            yield self._row(source, index, example)

    def _row(self, source: Path, index: int, example: dict[str, Any]) -> Row:
        question = example["question"]
        images = [_image(source, path, example["qid"]) for path in example["image"]]
        if question.count("<image>") != len(images):
            raise ConfigError(
                f"ViRL39K: question {example['qid']} has {question.count('<image>')} times <image> and {len(images)} "
                "images; these numbers must be equal."
            )
        return {
            "data_source": self.name,
            "prompt": [{"role": "user", "content": question + INSTRUCTION}],
            "images": images,
            "reward_model": {"style": "math", "ground_truth": example["answer"]},
            "extra_info": {"index": index, "qid": example["qid"], "category": example["category"]},
        }


def _image(source: Path, path: str, qid: str) -> ImagePath:
    file = source / path
    if not file.is_file():
        raise ConfigError(
            f"ViRL39K: question {qid} names the image {path}, which is not in {source}: unpack images.zip there."
        )
    return {"image": str(file), "max_pixels": MAX_PIXELS}
