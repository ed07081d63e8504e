# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""SenseNova-MARS-Data: questions about details of images, and questions that need a search."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from verl_mapo.data.base import Example, LeftOut, Picture, Pictures, read_examples
from verl_mapo.data.published import Columns, PublishedSet
from verl_mapo.data.reading import data_files

_FOLDER = "_folder"
_SEARCH = "fvqa"


class SenseNovaMARS(PublishedSet):
    """1,965 questions about details of images; its 1,894 questions that need a search of the web are left out.

    Each part is a folder with ``data.jsonl`` and its images (``fvqa_train``, ``deepeyes_4k_train_non_mcq``,
    ``deepeyes_4k_train_mcq``, ``visual_probe_train``). The columns are ``prompt``, messages of the user alone;
    ``images``, paths in the folder of the part; ``reward_model.ground_truth``; and ``index``. The system prompt is in
    ``train_qwen3_vl_8b.json``, which is not read. Two parts are copies from Mini-o3's sets: do not mix them with those.
    """

    name = "SenseNova-MARS"
    hub_id = "sensenova/SenseNova-MARS-Data"
    files = ("**/data.jsonl",)
    columns = Columns(("prompt",), ("reward_model.ground_truth",), ("images",), more=("part",))

    def examples(self, source: Path) -> Iterator[Example | LeftOut]:
        """See :class:`DataSet`; each example also has the name of its part and its folder."""
        for file in data_files(source, self.files):
            for example in read_examples(file.parent, (file.name,)):
                known = {"part": file.parent.name, _FOLDER: file.parent}
                yield example if isinstance(example, LeftOut) else example | known

    def id_of(self, index: int, example: Example) -> str:
        """See :class:`DataSet`."""
        return f"{example['part']}-{example.get('index', index)}"

    def pictures_of(self, example: Example, pictures: Pictures) -> list[Picture]:
        """See :class:`PublishedSet`."""
        if example["part"].startswith(_SEARCH):
            raise LeftOut("other_tool", "the question needs a search of the web")
        images = example["images"] if isinstance(example["images"], list) else [example["images"]]
        return [pictures.at(example[_FOLDER] / image) for image in images]
