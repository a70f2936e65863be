"""Units of time as columns and questions count them."""
