"""`python -m pinxit` is the same as `pinxit`."""

from pinxit.cli import main

main()
