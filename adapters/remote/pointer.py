"""What lies in the object store: immutable objects by content, and one pointer for each domain.

releases/<domain>/<n>.json      as in the store that made it
snapshots/<domain>/<id>/...     manifest.json last
adapters/<digest>/...           manifest.json last
lines/<sha256>.json             the manifests of an adapter's versions
live/<domain>.json              the pointer, written after all that it names
"""

from __future__ import annotations

import hashlib
from typing import Final

from pydantic import TypeAdapter, ValidationError

from adapters.manifest import AdapterManifest, Pinned
from adapters.remote.objects import Objects
from indexer.errors import NotFound, StoreError

LINE: Final[TypeAdapter[list[AdapterManifest]]] = TypeAdapter(list[AdapterManifest])


class Pointer(Pinned):
    """Which release of a domain answers. `line`: digest of the adapter's versions, "" for none.

    `seal` is of all the rest, so that half a pointer is none.
    """

    domain: str
    release: int
    release_sha256: str
    line: str = ""
    seal: str = ""

    def sealed(self) -> Pointer:
        return self.model_copy(update={"seal": self.digest()})

    def digest(self) -> str:
        """sha256 of everything but the seal."""
        return sha256(self.model_copy(update={"seal": ""}).model_dump_json().encode())


def pointer_name(domain: str) -> str:
    return f"live/{domain}.json"


def release_name(domain: str, number: int) -> str:
    return f"releases/{domain}/{number}.json"


def read_pointer(objects: Objects, domain: str) -> Pointer:
    """NotFound where nothing was pushed; StoreError if it cannot be understood."""
    content = objects.read(pointer_name(domain))
    if content is None:
        raise NotFound(f"{objects.url} has no release of {domain}", "Push one: `dslm release push`")
    try:
        pointer = Pointer.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(objects, domain) from error
    if pointer.seal != pointer.digest() or pointer.domain != domain:
        raise _damaged(objects, domain)
    return pointer


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _damaged(objects: Objects, domain: str) -> StoreError:
    return StoreError(f"{objects.url}/{pointer_name(domain)} is damaged", "Push the release again")
