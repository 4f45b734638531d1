"""Releases on many machines: pushed to an object store by one, followed by others."""
