# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Scorers of the alignment of a text and an image. The scorers themselves block and use neither verl nor Ray."""
