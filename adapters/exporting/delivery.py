"""Where an export goes: a new folder, a repository of the hub, or any URL that fsspec knows.

The configuration goes last, so that nobody takes half an export for a whole one.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Final

from adapters.importing.sources import open_url
from adapters.manifest import CONFIG_FILE
from indexer.errors import BadInput, DslmError
from indexer.settings import store_errors

_HUB: Final = "hf://"
_LAST: Final = ("config.json", CONFIG_FILE)
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w.-]+")


class NotDelivered(DslmError):
    """The other side refused or broke off; what it has is to be overwritten by another try."""


@contextmanager
def delivered(to: str, *, private: bool = True) -> Iterator[Path]:
    """A folder to write the export into; it goes where it should when the block ends well."""
    check_target(to)
    if "://" not in to:
        with _placed(Path(to)) as stage:
            yield stage
        return
    with TemporaryDirectory(prefix="dslm-export-") as folder:
        yield Path(folder)
        if to.startswith(_HUB):
            _push(Path(folder), to.removeprefix(_HUB), private=private)
        else:
            _put(Path(folder), to)


def check_target(to: str) -> None:
    """BadInput for a place that cannot be written, before anything is computed."""
    if to.startswith(_HUB):
        if not _REPOSITORY.fullmatch(to.removeprefix(_HUB)):
            raise BadInput(f"{to} is no repository of the hub", "Write hf://owner/name")
    elif "://" in to:
        open_url(to)
    elif Path(to).exists() and not (Path(to).is_dir() and not any(Path(to).iterdir())):
        raise BadInput(f"{to} is not an empty folder", "Name another, or delete it")


@contextmanager
def _placed(target: Path) -> Iterator[Path]:
    with store_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    try:
        yield stage
        with store_errors(target):
            stage.chmod(0o755)
            stage.rename(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def ordered(folder: Path) -> list[Path]:
    """What tells a reader that all is there goes last."""
    return sorted(folder.iterdir(), key=lambda file: (file.name in _LAST, file.name))


def _put(folder: Path, url: str) -> None:
    system, path = open_url(url)
    try:
        system.makedirs(path, exist_ok=True)
        for file in ordered(folder):
            system.put_file(str(file), f"{path.rstrip('/')}/{file.name}")
    except OSError as error:
        raise NotDelivered(f"{url} cannot be written ({error})", "Check the URL and key") from error


def _push(folder: Path, repository: str, *, private: bool) -> None:
    """In one commit, so that it is there whole or not at all."""
    from huggingface_hub import HfApi

    try:
        api = HfApi()
        api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Export")
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        remedy = "Log in by `hf auth login`, or set HF_TOKEN; check the network"
        raise NotDelivered(f"hf://{repository} took nothing ({reason})", remedy) from error
