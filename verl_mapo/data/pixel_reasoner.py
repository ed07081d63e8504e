# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""PixelReasoner-RL-Data: 15,400 questions about images and videos."""

from __future__ import annotations

from verl_mapo.data.base import Example, LeftOut, Picture, Pictures
from verl_mapo.data.published import Columns, PublishedSet, first_of

GUIDELINES = r"\s*Guidelines: Understand the given visual information and the user query\."
"""The beginning of the instructions that Pixel Reasoner appends to its questions."""


class PixelReasoner(PublishedSet):
    """15,400 questions about images and videos, of which those about images are taken.

    ``release.parquet`` has ``question``; ``answer``, a text or a list of accepted ones; ``image``, a list of paths in
    ``images.zip`` (for a video, in ``videos.zip``); ``qid``; and ``is_video``. Examples with a video are left out on
    purpose. The set's code appends ``Guidelines: ...`` to a question, which is stripped where a copy holds it.
    """

    name = "PixelReasoner-RL"
    hub_id = "TIGER-Lab/PixelReasoner-RL-Data"
    files = ("release.parquet", "data/*.parquet")
    archives = ("images.zip",)
    instructions = (GUIDELINES,)
    columns = Columns(("question",), ("answer",), ("image",), id=("qid",))

    def pictures_of(self, example: Example, pictures: Pictures) -> list[Picture]:
        """See :class:`PublishedSet`."""
        if example.get("is_video"):
            raise LeftOut("video", "the question is about a video")
        return [picture_at(path, pictures) for path in first_of(example, self.columns.images)]


def picture_at(path: str, pictures: Pictures) -> Picture:
    """An image by its path in ``images.zip`` or in the folder that holds it, as the two versions of the set have it."""
    inside = pictures.source / "images" / path
    return pictures.at(inside if inside.exists() else path)
