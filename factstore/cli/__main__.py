"""`python -m factstore.cli` is `factstore`."""

from factstore.cli import main

main()
