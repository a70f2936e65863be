"""Ending consents for residents who have no key at hand, by the word of the identity provider that knows them."""
