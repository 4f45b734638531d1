"""Training an adapter: rows posed as they will be served, learned, checkpointed, saved."""
