"""Domains, documents, embeddings and snapshots: everything that is stored and looked up."""
