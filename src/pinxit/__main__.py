"""`python -m pinxit` is the same as `pinxit`."""

import os
import sys

try:
    here = os.getcwd()  # noqa: PTH109  as heavy as pathlib is, it comes later
except OSError:  # the folder is gone; then Python looks there by this name
    here = ""
if not sys.flags.safe_path and sys.path[:1] == [here]:
    del sys.path[0]  # the user's folder may hold a `types.py`; the command `pinxit` does not import from there either

from pinxit.cli import main

main()
