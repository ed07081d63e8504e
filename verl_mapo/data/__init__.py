# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Public training sets as neutral rows in verl's schema, one file for each set."""

from __future__ import annotations

from verl_mapo.data.base import DataSet, LeftOut, Pictures, Row, make_row
from verl_mapo.data.conversion import Conversion, convert
from verl_mapo.registry import Registry

DATA_SETS: Registry[type[DataSet]] = Registry(
    "data set",
    DataSet,
    {
        "columns": "verl_mapo.data.columns:Columns",
        "deepeyes": "verl_mapo.data.deepeyes:DeepEyes",
        "geometry3k": "verl_mapo.data.geometry3k:Geometry3K",
        "virl39k": "verl_mapo.data.virl39k:ViRL39K",
        "visual_probe": "verl_mapo.data.mini_o3:VisualProbe",
        "deepeyes_4k": "verl_mapo.data.mini_o3:DeepEyes4K",
        "drim": "verl_mapo.data.drim:VisualReasonHard",
        "pixel_reasoner": "verl_mapo.data.pixel_reasoner:PixelReasoner",
        "mmk12": "verl_mapo.data.mmk12:MMK12",
        "med": "verl_mapo.data.med:MED",
        "vstar_collage": "verl_mapo.data.insight_o3:VStarCollage",
        "region_localization": "verl_mapo.data.insight_o3:RegionLocalization",
        "codevision": "verl_mapo.data.codevision:CodeVision",
        "thyme": "verl_mapo.data.thyme:Thyme",
        "mini_o3_coldstart": "verl_mapo.data.mini_o3_coldstart:MiniO3Coldstart",
        "pixel_reasoner_sft": "verl_mapo.data.pixel_reasoner_sft:PixelReasonerSFT",
        "thyme_sft": "verl_mapo.data.thyme_sft:ThymeSFT",
        "sensenova_mars": "verl_mapo.data.sensenova_mars:SenseNovaMARS",
    },
)
"""The built-in data sets, by the name that ``verl-mapo data convert`` takes."""

__all__ = ["DATA_SETS", "Conversion", "DataSet", "LeftOut", "Pictures", "Row", "convert", "make_row"]
