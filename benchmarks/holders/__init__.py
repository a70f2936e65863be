"""What a holder's own node costs: its files and its links."""
