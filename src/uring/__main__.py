"""``python -m uring`` is the command line client."""

from uring.cli.main import main

main()
