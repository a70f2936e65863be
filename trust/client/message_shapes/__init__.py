"""What messages look like to programs that are not ours: JSON Schemas and examples, made from the messages' classes."""
