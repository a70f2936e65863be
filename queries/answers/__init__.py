"""From released numbers to an answer, and the proof of who could be counted in it."""
