"""The interface as machines read it: OpenAPI made from the messages' own types and from the table of problems."""
