"""Snapshots that were begun: what killed jobs left of them."""

import shutil

from indexer.settings import Paths

DRAFT = ".draft-"


def remove_drafts(paths: Paths, domain: str) -> None:
    """Clear away what killed jobs left behind; only for whoever holds the domain's lock."""
    for draft in paths.snapshots(domain).glob(f"{DRAFT}*"):
        shutil.rmtree(draft, ignore_errors=True)
