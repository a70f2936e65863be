"""The toy town, and the ways in which it is run: in this event loop, as processes, with an operator that lies."""
