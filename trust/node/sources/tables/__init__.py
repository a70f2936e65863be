"""The forms that a holder's table can have, one module each, and how one is opened."""
