"""What a node offers its holder on the holder's own machine: a page, and links from the holder's own site."""
