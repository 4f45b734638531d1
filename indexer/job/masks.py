"""Documents as they may be kept: with or without the personal data in them."""

from collections.abc import Callable, Sequence

from indexer.records import Document
from indexer.store.journal import Taken


def mask_for(kinds: Sequence[str]) -> Callable[[Document], Taken]:
    """What replaces these kinds of personal data; nothing is looked for where there are none."""
    if not kinds:
        return lambda document: Taken(document, {})
    # Imported here: its library takes long and most domains do not want it.
    from indexer.text.masking import Masker

    masker = Masker(kinds)

    def mask(document: Document) -> Taken:
        masked, counts = masker.mask(document)
        return Taken(masked, dict(counts))

    return mask
