"""Evaluation: asks the service over HTTP, so that what is measured is what is served."""
