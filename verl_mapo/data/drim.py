# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""DRIM-VisualReasonHard: 17,100 hard questions in the layout of Mini-o3."""

from __future__ import annotations

from verl_mapo.data.mini_o3 import ProblemSet


class VisualReasonHard(ProblemSet):
    """17,100 hard questions about large images.

    The columns are those of Mini-o3's sets; that the questions carry no tool text of their own, as theirs do not, is
    inferred.
    """

    name = "DRIM-VisualReasonHard"
    hub_id = "xiuhuywh/DRIM-VisualReasonHard"
