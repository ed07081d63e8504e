# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The gradient lens: how well the update of each estimator points, measured on rollouts of one fixed policy."""
