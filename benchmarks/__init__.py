"""What Musubi costs, as ratios to a yardstick measured in the same run.

``make bench`` runs all and writes RESULTS.md.
"""
