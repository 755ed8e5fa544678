"""`python -m overseer.cli` is `overseer`."""

from overseer.cli import main

main()
