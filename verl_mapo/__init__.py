# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""MAPO, AXPO and VGPO for stock verl: a plugin for models that think with images."""

__version__ = "0.1.0"
