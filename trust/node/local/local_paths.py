"""The paths of a node's local interface, each written once."""

API = "/v1/"
"""All that the holder's own site calls begins so; everything else is the holder's page."""
CHALLENGES = f"{API}links/challenges"
LINKS = f"{API}links"
STATUS = f"{API}links/status"

PAGE = "/"
ENTER = "/enter"
LOOK = "/look"
LEAVE = "/leave"
