"""Whom a town has to do with: nodes and services that lie or are lied to, witnesses, other people's clients."""
