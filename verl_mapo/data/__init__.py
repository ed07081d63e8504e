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
    },
)
"""The built-in data sets, by the name that ``verl-mapo data convert`` takes."""

__all__ = ["DATA_SETS", "Conversion", "DataSet", "LeftOut", "Pictures", "Row", "convert", "make_row"]
