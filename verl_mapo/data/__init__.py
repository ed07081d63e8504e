# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Public training sets in verl's schema, one file for each."""

from __future__ import annotations

from verl_mapo.data.base import Conversion, DataSet, Row, convert
from verl_mapo.registry import Registry

DATA_SETS: Registry[type[DataSet]] = Registry("data set", DataSet, {"virl39k": "verl_mapo.data.virl39k:ViRL39K"})
"""The built-in data sets, by the name that ``verl-mapo data convert`` takes."""

__all__ = ["DATA_SETS", "Conversion", "DataSet", "Row", "convert"]
