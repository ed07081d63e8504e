# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The two sets of Mini-o3's reinforcement learning."""

from __future__ import annotations

from verl_mapo.data.published import Columns, PublishedSet

LEADING = r"Question:\s*"
"""What may stand before a question of Mini-o3's."""


class ProblemSet(PublishedSet):
    """A set in the layout of Mini-o3: ``train.json``, a list of objects, and images in ``data/``.

    The columns are ``images``, a list of paths in the folder of the set; ``problem``, which begins with ``<image>`` and
    may go on with ``Question:``; ``solution``; ``doc_id``; and ``data_source``, which ``extra_info.more`` keeps. The
    tool text, which asks for ``<grounding>``, is in the set's code and not in its rows. Answers are in free words, so
    most of them need a judge; the set has no boxes.
    """

    files = ("train.json",)
    leading = LEADING
    columns = Columns(("problem",), ("solution",), ("images",), id=("doc_id",), more=("data_source",))


class VisualProbe(ProblemSet):
    """Questions about small details of large photographs, by people; the training part of VisualProbe."""

    name = "VisualProbe_train"
    hub_id = "Mini-o3/VisualProbe_train"


class DeepEyes4K(ProblemSet):
    """4,000 questions of DeepEyes-47k, chosen by Mini-o3."""

    name = "DeepEyes_train_4K"
    hub_id = "Mini-o3/DeepEyes_train_4K"
