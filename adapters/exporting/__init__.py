"""Adapter versions taken out of the store: alone, put into their base, or as GGUF for others."""
