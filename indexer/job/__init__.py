"""The index job: from documents to a published snapshot."""
