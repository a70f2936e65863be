"""``python -m trust.cli`` is ``musubi``."""

from trust.cli import main

main()
