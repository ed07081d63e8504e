# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Thyme-RL: 55,173 questions about high-resolution images."""

from __future__ import annotations

from verl_mapo.data.published import Columns, PublishedSet

INSTRUCTIONS = (r"\s*###\s*User Image Path", r"\s*###\s*User Image Size", r"\s*###\s*(?:\*\*)?\s*Output Format")
"""The beginnings of what Thyme appends to a question: path and size of the image for its code, and its format."""


class Thyme(PublishedSet):
    """55,173 questions about high-resolution images, 48 GB.

    98 parquet shards in ``data/`` have ``messages``, whose system message is about Python code and its sandbox;
    ``images``, base64 texts; ``solution``; and ``question``, the plain question, which is taken.
    """

    name = "Thyme-RL"
    hub_id = "Kwai-Keye/Thyme-RL"
    instructions = INSTRUCTIONS
    columns = Columns(("question", "messages"), ("solution",), ("images",))
