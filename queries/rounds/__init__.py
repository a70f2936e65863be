"""The way of one question: what is admitted, the messages of a round, and how shares are combined."""
