"""The page that checks receipts on its reader's own device: one HTML file, and what it is put together from."""
