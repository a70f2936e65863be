"""The command line, ``musubi``."""
