# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What a run needs of GPUs, hosts and disk, computed before it is started."""
