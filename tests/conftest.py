"""One thread of torch a process: as quiet beside others as alone, and as many workers as there are cores fill them."""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is first imported, here and in the commands that tests start
