# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The look of all figures, as settings of matplotlib."""

from __future__ import annotations

from matplotlib.font_manager import get_font_names

from verl_mapo.charts import LIGHT_GREY

_CJK_FONTS = {"Noto Sans CJK SC", "WenQuanYi Zen Hei", "PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei"}
STYLE = {
    "font.family": ["DejaVu Sans", *sorted(_CJK_FONTS & set(get_font_names()))],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.edgecolor": LIGHT_GREY,
    "axes.labelcolor": "#4d5866",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e9ed",
    "grid.linewidth": 0.8,
    "text.color": "#1c2430",
    "xtick.color": "#4d5866",
    "ytick.color": "#4d5866",
    "svg.hashsalt": "verl_mapo",
}
