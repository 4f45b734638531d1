"""The live release of a domain to an object store: what it rests on first, the pointer last."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from adapters.lease import ReleaseLease
from adapters.manifest import MANIFEST_FILE
from adapters.pins import AdapterPin
from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from adapters.remote.objects import Objects, Tell
from adapters.remote.pointer import LINE, Pointer, pointer_name, release_name, sha256
from indexer.errors import NotFound, StoreError
from indexer.settings import Paths, store_errors
from indexer.store.manifest import read_manifest


def push(
    paths: Paths, objects: Objects, domain: str, tell: Tell, *, again: bool = False
) -> Pointer:
    """What is there already is not sent again, unless told to (`again`).

    NotFound before the first release. StoreError: another store has pushed that number.
    """
    store = ReleaseStore(paths)
    number = store.pointer(domain).number()
    if number is None:
        raise NotFound(f"{domain} has no live release", f"Run `dslm index {domain}`")
    file = store.file(domain, number)
    with contextlib.ExitStack() as leases:
        leases.callback(ReleaseLease(file).end)
        release = store.get(domain, number)
        snapshot = paths.snapshot(domain, release.snapshot)
        leases.callback(ReleaseLease(snapshot / MANIFEST_FILE).end)
        with store_errors(file):
            content = file.read_bytes()
        there = objects.read(release_name(domain, number))
        if there not in (None, content):
            raise StoreError(
                f"{objects.url} has another release {number} of {domain}, made elsewhere",
                "One store makes the releases of a domain, the others follow it",
            )
        line = (
            _push_adapter(paths, objects, release.adapter, tell, again) if release.adapter else ""
        )
        home = f"snapshots/{domain}/{release.snapshot}"
        _push_folder(objects, snapshot, home, read_manifest(snapshot)[1].files, tell, again)
        if there is None or again:
            objects.write(release_name(domain, number), content)
    pointer = Pointer(
        domain=domain, release=number, release_sha256=sha256(content), line=line
    ).sealed()
    told = pointer.model_dump_json().encode()
    if objects.read(pointer_name(domain)) != told:
        objects.write(pointer_name(domain), told)
    return pointer


def _push_adapter(paths: Paths, objects: Objects, pin: AdapterPin, tell: Tell, again: bool) -> str:
    """The version, and what is known of all of its name; the digest of that."""
    registry = AdapterRegistry(paths)
    manifest = registry.get(f"{pin.name}@{pin.version}")
    lease = registry.lease(manifest)
    try:
        folder = registry.folder(manifest)
        _push_folder(objects, folder, f"adapters/{pin.digest}", manifest.files, tell, again)
    finally:
        lease.end()
    line = LINE.dump_json(list(registry.line(pin.name)))
    name = f"lines/{sha256(line)}.json"
    if again or objects.read(name) is None:
        objects.write(name, line)
    return sha256(line)


def _push_folder(
    objects: Objects, folder: Path, home: str, files: Iterable[str], tell: Tell, again: bool
) -> None:
    """The manifest goes last: a folder that has one is whole."""
    with store_errors(folder):
        manifest = (folder / MANIFEST_FILE).read_bytes()
    if not again and objects.read(f"{home}/{MANIFEST_FILE}") == manifest:
        return
    for name in sorted(files):
        objects.upload(folder / name, f"{home}/{name}", tell)
    objects.write(f"{home}/{MANIFEST_FILE}", manifest)
