"""Deployment material; a package only so that its tools run with ``python -m``."""
