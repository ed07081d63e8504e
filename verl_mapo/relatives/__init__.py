# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Methods of one file each: settings, formulas, and the hooks of the trainer. A run imports the one that it uses."""
