"""Logs made by hand, true or tampered with, and the small trees that they are held against."""
