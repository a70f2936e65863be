"""The HTTP interface, one file for each audience.

Handlers only translate: what they ask for is an act or a gatherer.
"""
