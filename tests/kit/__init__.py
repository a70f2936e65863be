"""What several rooms' tests stand on: towns, nodes, witnesses, processes, a browser, liars."""
