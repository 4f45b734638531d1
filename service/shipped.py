"""The adapters that are shipped as folders: registered at a start, before anything needs them."""

from collections.abc import Callable, Sequence

from adapters.base import BaseProfile
from adapters.manifest import CARD_FILE, AdapterCard, read_pinned
from adapters.registry import AdapterRegistry
from indexer.errors import BadInput
from indexer.settings import Paths
from service.settings import ServiceSettings

Say = Callable[[str], None]


def register_adapters(settings: ServiceSettings, bases: Sequence[BaseProfile], say: Say) -> None:
    """Add each adapter folder below `settings.adapters`, for the base that it was trained on.

    What is known already stays as it is.
    """
    registry = AdapterRegistry(Paths(settings.store))
    if not bases:
        return
    for card in sorted(settings.adapters.glob(f"*/{CARD_FILE}")):
        try:
            made_for = read_pinned(card, AdapterCard).base.digest
            base = next((one for one in bases if one.digest == made_for), bases[0])
            registry.add(card.parent, base=base, max_rank=settings.max_lora_rank)
        except BadInput as error:
            say(f"adapter {card.parent.name} is left out: {error}")


def shipped_names(settings: ServiceSettings) -> set[str]:
    """Of all that are shipped, also of those that are for another base."""
    cards = settings.adapters.glob(f"*/{CARD_FILE}")
    return {read_pinned(card, AdapterCard).name for card in cards}
