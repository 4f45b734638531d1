"""HTTP: parses requests, shapes errors, and knows nothing about retrieval or engines."""
