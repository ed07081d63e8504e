# SPDX-FileCopyrightText: 2026 The verl_mapo authors
# SPDX-License-Identifier: Apache-2.0
"""What the processes under the launcher's eyes do in test_launcher.py, without any import that takes long."""

import os
import subprocess
import sys
import time
from pathlib import Path

WAIT = "import time; time.sleep(3600)"


def start(name: str, code: str = WAIT) -> subprocess.Popen:
    """Start a child and return once it has this name; ray renames its processes the same way."""
    rename = f"open('/proc/self/comm', 'w').write({name!r})"
    child = subprocess.Popen([name, "-c", f"{rename}\n{code}"], executable=sys.executable)
    while Path(f"/proc/{child.pid}/comm").read_text().strip() != name[:15]:
        time.sleep(0.02)
    return child


def watched() -> None:
    """Return once the launcher has looked at all processes again and has drawn its conclusions."""
    looks = Path(os.environ["LOOKS"])
    before = len(looks.read_text())
    while len(looks.read_text()) < before + 3:  # one look was perhaps going on, one is whole, one followed it
        time.sleep(0.02)
