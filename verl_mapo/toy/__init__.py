# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The toy: a synthetic visual search task, and tiny models that are trained for it."""
