"""What is kept: the catalog of a domain and the snapshots made of it."""
