# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Platforms that verl does not have: a machine without accelerator (:mod:`verl_mapo.platforms.cpu`)."""
