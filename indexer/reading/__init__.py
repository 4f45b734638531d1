"""Files of any office kind to documents: found on disk, read, cleaned."""
