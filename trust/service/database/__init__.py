"""The service's store: tables, engines and migrations."""
