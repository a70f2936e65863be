"""The question language, its price, its plans and wire messages, and how answers are put together. Pure."""
