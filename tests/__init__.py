"""The tests: one folder for each room of the code, named like it, and ``kit``, which they stand on."""
