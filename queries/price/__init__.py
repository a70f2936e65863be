"""What a question costs: noise, charge, epsilon."""
