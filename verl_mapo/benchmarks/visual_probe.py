# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""VisualProbe: free questions about small objects in photographs, in three degrees of difficulty."""

from __future__ import annotations

from collections.abc import Sequence

from verl_mapo.benchmarks.base import REPACKAGED, Benchmark, Layout, Question
from verl_mapo.data.base import MARK, Example, need


class VisualProbe(Benchmark):
    """Questions with free answers, such as ``White.``, about small objects in photographs of high resolution.

    The official rule is a judge (gpt-4o-2024-11-20). A truth of a few words is compared as a text first; without a
    judge, other answers than the truth are counted as unjudged where the truth is a sentence.
    """

    rule = "exact_or_judge"
    note = "Mini-o3 reports Avg@32 at temperature 1 with a judge; a greedy number differs from it by points."
    layouts: Sequence[Layout] = (
        Layout(("val.json",), ("images", "problem", "solution", "doc_id", "data_source")),
        REPACKAGED,
    )

    def question(self, example: Example) -> Question:
        """See :class:`Benchmark`; the paths may begin with the name of the repository."""
        paths = [path.removeprefix("./") for path in need(example, "images", list)]
        folder = self.hub_id.partition("/")[2] + "/"
        return Question(
            id=str(example["doc_id"]),
            text=need(example, "problem").replace(MARK, "").strip(),
            truth=need(example, "solution"),
            images=[path.removeprefix(folder) for path in paths],
            more={"category": example["data_source"]},
        )


class VisualProbeEasy(VisualProbe):
    """141 free questions about small objects in photographs."""

    name = "visual_probe_easy"
    hub_id = "Mini-o3/VisualProbe_Easy"
    questions = 141


class VisualProbeMedium(VisualProbe):
    """268 free questions about small objects in photographs."""

    name = "visual_probe_medium"
    hub_id = "Mini-o3/VisualProbe_Medium"
    questions = 268


class VisualProbeHard(VisualProbe):
    """106 free questions about small objects in photographs."""

    name = "visual_probe_hard"
    hub_id = "Mini-o3/VisualProbe_Hard"
    questions = 106
