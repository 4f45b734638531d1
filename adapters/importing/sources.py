"""Where an adapter comes from: a folder, a hub id, or any URL that fsspec knows (S3, GCS, ...).

Only the files that say what an adapter is are fetched, and no more of them than is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Final

from adapters.manifest import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from indexer.errors import BadInput

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

FETCHED: Final = (
    CONFIG_FILE,
    WEIGHTS_FILE,
    CARD_FILE,
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
MOST_BYTES: Final = 20 << 30
_HUB_ID = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://")
_PACKAGES: Final = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}


@contextmanager
def fetched(source: str, most_bytes: int = MOST_BYTES) -> Iterator[Path]:
    """A folder with the adapter's files, for the block. BadInput says what is wrong with it."""
    if Path(source).expanduser().is_dir():
        yield Path(source).expanduser()
    elif _URL.match(source):
        with TemporaryDirectory(prefix="dslm-import-") as folder:
            _from_url(source, Path(folder), most_bytes)
            yield Path(folder)
    elif (match := _HUB_ID.fullmatch(source)) and not Path(source).exists():
        yield _from_hub(match["repository"], match["revision"])
    else:
        raise BadInput(
            f"{source} is no folder, hub id or URL",
            "Name a folder, owner/name (with @revision), or a URL such as s3://bucket/folder",
        )


def _from_hub(repository: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=list(FETCHED)))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(
            f"The adapter {repository} is no folder here and cannot be downloaded ({reason})",
            "Check the name and the network, or download it and name its folder",
        ) from error


def open_url(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL and the path in it. BadInput names the package that is missing."""
    import fsspec

    kind = url.partition("://")[0]
    try:
        system, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        package = _PACKAGES.get(kind)
        remedy = f"Run `pip install {package}`" if package else "Give a URL that fsspec knows"
        raise BadInput(f"{url} cannot be opened ({error})", remedy) from error
    return system, str(path)


def _from_url(url: str, folder: Path, most_bytes: int) -> None:
    system, path = open_url(url)
    wanted = _listed(url, system, path)
    total = sum(size for _, size in wanted.values())
    if total > most_bytes:
        raise BadInput(f"{url} holds {total} bytes of adapter", f"{most_bytes} may be")
    for name, (remote, size) in wanted.items():
        try:
            system.get_file(remote, str(folder / name))
        except OSError as error:
            raise BadInput(f"{url}/{name} cannot be read ({error})", "Try again") from error
        if (folder / name).stat().st_size != size:
            raise BadInput(f"{url}/{name} came incomplete", "Try again when nobody writes it")


def _listed(url: str, system: AbstractFileSystem, path: str) -> dict[str, tuple[str, int]]:
    """By file name where it lies and its size."""
    try:
        found: list[dict[str, Any]] = system.ls(path, detail=True)
    except OSError as error:
        raise BadInput(f"{url} cannot be listed ({error})", "Check the URL and the key") from error
    files = {
        str(one["name"]).rsplit("/", 1)[-1]: (str(one["name"]), int(one["size"] or 0))
        for one in found
        if one["type"] == "file"
    }
    return {name: files[name] for name in FETCHED if name in files}
