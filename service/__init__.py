"""The OpenAI-compatible service: one resident base, and a specialist for every domain."""
