"""Privacy accounts: their names, and what is reserved, spent and left in them."""
