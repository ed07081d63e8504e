# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.ticker import AutoLocator
from PIL import Image

from verl_mapo.charts import BLUE
from verl_mapo.report.curves import panel_svg, running_mean, share_label, smoothing, write_curves
from verl_mapo.report.series import DrawnPanel, Series


def panel(steps, **changes):
    values = [0.5 + 0.01 * step for step in range(steps)]
    return DrawnPanel("$x^", "look", [Series("a $ line", list(range(steps)), values, BLUE)], **changes)


@pytest.mark.parametrize("steps", [1, 2, 31])
@pytest.mark.parametrize("changes", [{}, {"share": True, "limit": 0.5}, {"stacked": True, "share": True}])
def test_panel_is_an_svg_without_references_and_always_the_same(steps, changes):
    svg = panel_svg(panel(steps, **changes))
    assert svg.lstrip().startswith(b"<?xml") and b"<path" in svg
    assert b'href="http' not in svg and b"url(http" not in svg
    assert svg == panel_svg(panel(steps, **changes))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_curves_are_written(count, tmp_path):
    out = tmp_path / "curves.png"
    write_curves([panel(5)] * count, "$run_", out)
    with Image.open(out) as image:
        assert image.width > 1000


@given(st.floats(1e-3, 1.04))
def test_ticks_of_an_axis_of_shares_have_labels_of_their_own(highest):
    ticks = AutoLocator().tick_values(0, highest)
    assert len({share_label(tick) for tick in ticks}) == len(ticks)
    assert [share_label(share) for share in (0, 0.005, 0.5, 1)] == ["0%", "0.5%", "50%", "100%"]


def test_smoothing_is_zero_for_short_series():
    assert smoothing([panel(30)]) == 0
    assert smoothing([panel(400)]) == 21


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200))
def test_running_mean_stays_within_the_values(values):
    smooth = running_mean(values)
    assert len(smooth) == len(values)
    assert min(values) - 1e-3 <= min(smooth) and max(smooth) <= max(values) + 1e-3
