# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""Log-probs of the same tokens under a changed view: other pixels, no image, or a part of the text removed."""
