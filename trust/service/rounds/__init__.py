"""Questions on their way: open rounds, how far each holder's node is, and the in-force sets of earlier sizes."""
