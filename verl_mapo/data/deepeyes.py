# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""DeepEyes-47k: 47,052 questions about photographs, figures and problems."""

from __future__ import annotations

import re

from verl_mapo.data.base import DataSet, Example, LeftOut, Pictures, Row, make_row, need, target_of

_SUFFIX = re.compile(r"\s*Think first, call \*\*image_zoom_in_tool\*\* if needed, then answer\..*\Z", re.DOTALL)


class DeepEyes(DataSet):
    """47,052 questions: photographs (V*, free answers), figures (ArxivQA) and problems (ThinkLite).

    The published columns are those of verl: ``data_source`` (``vstar``, ``chart``, ``thinklite_eureka``), ``prompt``,
    ``images`` (bytes), ``reward_model`` with ``style: model``, and ``extra_info``. The system prompt, which declares
    ``image_zoom_in_tool``, and the text about its format behind the question are removed. Most photographs are from
    COCO and have at most 640 pixels a side, so that a zoom reveals little.
    """

    name = "DeepEyes-47k"
    hub_id = "ChenShawn/DeepEyes-Datasets-47k"
    files = (
        "**/data_0.1.2_visual_toolbox_v2.parquet",
        "**/data_v0.8_visual_toolbox_v2.parquet",
        "**/data_thinklite_reasoning_acc.parquet",
    )

    def id_of(self, index: int, example: Example) -> str:
        """The part and the index in it, because each of the three files counts from 0."""
        return f"{example.get('data_source')}-{(example.get('extra_info') or {}).get('index', index)}"

    def row(self, index: int, example: Example, pictures: Pictures) -> Row:
        """See :class:`DataSet`."""
        users = [message["content"] for message in need(example, "prompt", list) if message["role"] == "user"]
        if len(users) != 1:
            raise LeftOut("malformed", f"the prompt has {len(users)} user messages")
        question = _SUFFIX.sub("", users[0])
        return make_row(
            f"DeepEyes-{need(example, 'data_source')}",
            index,
            question,
            [pictures.of_bytes(image["bytes"]) for image in need(example, "images", list)],
            target_of(need(example, "reward_model", dict)["ground_truth"], question=question),
            id=self.id_of(index, example),
            more={"ability": example.get("ability")},
        )
