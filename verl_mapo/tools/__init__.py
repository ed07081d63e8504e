# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The tools a model may call on images, one file each. Nothing here imports verl."""
