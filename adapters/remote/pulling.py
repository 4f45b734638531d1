"""The live release of an object store into this one: everything it rests on first, LIVE last.

What is downloaded lies in drafts that nothing looks at until every digest has been compared; a
killed download goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from adapters.audit import Cause
from adapters.cards import version_digest
from adapters.lifecycle import Lifecycle
from adapters.manifest import MANIFEST_FILE, AdapterCard, AdapterManifest, to_json
from adapters.pins import AdapterPin, Release
from adapters.publishing import publish_once
from adapters.registry import AdapterRegistry
from adapters.release import ReleaseStore
from adapters.remote.objects import Objects, Tell
from adapters.remote.pointer import LINE, Pointer, read_pointer, release_name, sha256
from indexer.errors import StoreError
from indexer.job.lock import locked
from indexer.settings import Paths, store_errors, sync_folder, write_atomically
from indexer.store.drafts import DRAFT
from indexer.store.manifest import SnapshotManifest, check_files, manifest_id, mark_file

_AGAIN = "Push it again with --again from the machine that made it"


def pull(paths: Paths, objects: Objects, domain: str, tell: Tell) -> Pointer:
    """Let this store answer as the object store says; nothing is done if it does already.

    StoreError: something is not what was pushed, this store made a release of that number itself,
    or an index job runs here. LIVE has not changed then.
    """
    pointer = read_pointer(objects, domain)
    store = ReleaseStore(paths)
    file = store.file(domain, pointer.release)
    if store.pointer(domain).number() == pointer.release and _is_ours(file, pointer):
        return pointer
    with locked(paths.domain(domain)):
        release, content = _read_release(objects, pointer)
        cause = Cause(f"follow:{objects.url}", f"release {pointer.release} answers there")
        if release.adapter:
            _pull_adapter(paths, objects, release.adapter, pointer.line, cause, tell)
        _pull_snapshot(paths, objects, domain, release.snapshot, tell)
        if not file.exists():
            publish_once(file, content)
        if not _is_ours(file, pointer):
            raise StoreError(
                f"{domain} has a release {pointer.release} of this store's own",
                "One store makes the releases of a domain; remove it here, or follow elsewhere",
            )
        store.activate(domain, pointer.release, cause)
    return pointer


def _is_ours(file: Path, pointer: Pointer) -> bool:
    """Is the release here the one that the pointer means?"""
    try:
        return sha256(file.read_bytes()) == pointer.release_sha256
    except FileNotFoundError:
        return False


def _read_release(objects: Objects, pointer: Pointer) -> tuple[Release, bytes]:
    name = release_name(pointer.domain, pointer.release)
    content = objects.read(name)
    if content is None or sha256(content) != pointer.release_sha256:
        raise StoreError(f"{objects.url}/{name} is not what was pushed", _AGAIN)
    try:
        release = Release.model_validate_json(content)
    except ValidationError as error:
        message = f"{objects.url}/{name} is no release that this program reads"
        raise StoreError(message, "Use the program that pushed it, or a newer one") from error
    return release, content


def _pull_snapshot(paths: Paths, objects: Objects, domain: str, snapshot: str, tell: Tell) -> None:
    target = paths.snapshot(domain, snapshot)
    if target.exists():
        check_files(target)
        return
    home = f"snapshots/{domain}/{snapshot}"
    content = objects.read(f"{home}/{MANIFEST_FILE}")
    if content is None or manifest_id(content) != snapshot:
        raise StoreError(f"{objects.url}/{home} is not what was pushed", _AGAIN)
    files = SnapshotManifest.model_validate_json(content).files
    draft = target.with_name(f"{DRAFT}pull-{snapshot}")
    _fill(objects, home, draft, {name: mark.sha256 for name, mark in files.items()}, tell)
    write_atomically(draft / MANIFEST_FILE, content)
    check_files(draft)
    with store_errors(target):
        draft.rename(target)
        sync_folder(target.parent)


def _pull_adapter(
    paths: Paths, objects: Objects, pin: AdapterPin, line: str, cause: Cause, tell: Tell
) -> None:
    versions = _read_line(objects, line)
    digests = [one.digest for one in versions]
    if digests[pin.version - 1 : pin.version] != [pin.digest]:
        raise StoreError(f"{objects.url} does not know {pin.label} by its digest", _AGAIN)
    registry, target = AdapterRegistry(paths), paths.adapter(pin.digest)
    if not target.exists():
        manifest = versions[pin.version - 1]
        draft = target.with_name(f".adding-pull-{pin.digest}")
        _fill(objects, f"adapters/{pin.digest}", draft, manifest.files, tell)
        if _digest(manifest) != pin.digest:
            raise StoreError(f"The manifest of {pin.label} in {objects.url} was changed", _AGAIN)
        write_atomically(draft / MANIFEST_FILE, to_json(manifest))
    else:
        draft = target
    with registry.locked():
        for one in versions:
            if not paths.adapter(one.digest).exists() and one.digest != pin.digest:
                write_atomically(registry.tombstone(one.digest), to_json(one))
        if draft != target:
            with store_errors(target):
                draft.rename(target)
                sync_folder(target.parent)
            Lifecycle(paths).record(pin.digest, "verified", cause)
        registry.take_names(pin.name, digests)
        registry.tombstone(pin.digest).unlink(missing_ok=True)


def _digest(manifest: AdapterManifest) -> str:
    """What the version would be called by what its manifest says."""
    card = AdapterCard(
        name=manifest.name,
        base=manifest.base,
        prompt_format=manifest.prompt_format,
        trained_with=manifest.trained_with,
        dataset_digest=manifest.dataset_digest,
    )
    return version_digest(card, dict(manifest.files))


def _read_line(objects: Objects, line: str) -> list[AdapterManifest]:
    """The versions of an adapter, oldest first."""
    name = f"lines/{line}.json"
    content = objects.read(name)
    if content is None or sha256(content) != line:
        raise StoreError(f"{objects.url}/{name} is not what was pushed", _AGAIN)
    try:
        return LINE.validate_json(content)
    except ValidationError as error:
        message = f"{objects.url}/{name} is of a program with other manifests"
        raise StoreError(message, "Use the program that pushed it, or a newer one") from error


def _fill(objects: Objects, home: str, draft: Path, files: Mapping[str, str], tell: Tell) -> None:
    """What a killed download has left is kept where it is whole, and anything else goes."""
    with store_errors(draft):
        draft.mkdir(parents=True, exist_ok=True)
        for left in sorted(draft.rglob("*"), reverse=True):
            name = left.relative_to(draft).as_posix()
            if left.is_file() and (name not in files or mark_file(left).sha256 != files[name]):
                left.unlink()
    for name, sha in sorted(files.items()):
        if ".." in Path(name).parts or Path(name).is_absolute():
            raise StoreError(f"{objects.url}/{home} names files outside itself", _AGAIN)
        target = draft / name
        if not target.exists():
            with store_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
            objects.download(f"{home}/{name}", target, sha, tell)
            sync_folder(target.parent)
