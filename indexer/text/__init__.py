"""Documents to chunks of whole sentences."""
