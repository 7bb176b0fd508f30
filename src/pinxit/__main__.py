"""`python -m pinxit` is the same as `pinxit`."""

import os
import sys

if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109  as heavy as pathlib is, it comes later
    del sys.path[0]  # data lie there, perhaps with a `types.py` among them; `pinxit` does not look there either

from pinxit.cli import main

main()
