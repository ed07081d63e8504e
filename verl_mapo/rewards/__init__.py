# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The description-alignment reward: the outcome of a rollout, the alignment of its visual turns, and their manager."""
