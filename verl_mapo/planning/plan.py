# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The plan of a run: all its lines."""

from __future__ import annotations

from verl_mapo.planning.gpu import gpu_lines
from verl_mapo.planning.host import disk_lines, host_lines
from verl_mapo.planning.rows import row_lines, token_lines
from verl_mapo.planning.run import Line, PlannedRun


def plan_lines(run: PlannedRun) -> list[Line]:
    """What a run needs and what there is, in the order of the table."""
    return [line for part in (row_lines, token_lines, gpu_lines, host_lines, disk_lines) for line in part(run)]
