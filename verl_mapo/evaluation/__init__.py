# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Benchmarks answered by a model: passes over their questions, what they amount to, and the protocols of papers."""
