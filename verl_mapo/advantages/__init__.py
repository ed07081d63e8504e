# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""The advantages: tensor math with torch and numpy that does not import verl."""
