"""The service: takes consents and questions in, keeps the ledger, routes questions to nodes."""
