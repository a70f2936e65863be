"""One consent: its bundle, its revocation, its promise, who attests it, its erasure."""
