"""An index's file: written durably as it is serialised, opened mapped where that helps."""

import contextlib
import os
import tempfile
from pathlib import Path

import faiss
import numpy as np

from indexer.errors import StoreError
from indexer.settings import store_errors, sync_folder

_PART = 1 << 20
_PAGE = 4096


def write_index(index: faiss.Index, path: Path) -> None:
    """All of it or nothing. FAISS's own writer reports neither a full disk nor lost bytes.

    What it serialises goes into the file a part at a time: no second copy is made in memory.
    """
    with store_errors(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(handle, "wb") as file:
                os.fchmod(file.fileno(), 0o644)
                faiss.write_index(index, faiss.PyCallbackIOWriter(file.write, _PART))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)
            raise
        sync_folder(path.parent)


def read_index(path: Path) -> faiss.Index:
    """Its vectors stay in the file, shared by all who read it; StoreError when it is no index.

    The file must be whole and stay so: to touch a page beyond its end kills the process. Whoever
    opens a snapshot has compared each file's size, and nobody writes to one that is published.
    """
    with store_errors(path):
        _touch(path)
    try:
        return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise StoreError(
            f"{path} is not an index that can be read", "Index the domain again"
        ) from error


def _touch(path: Path) -> None:
    """Read it once, in order: FAISS tells the system not to read ahead of a page that is missed."""
    if path.stat().st_size:
        pages = np.memmap(path, dtype=np.uint8, mode="r")[::_PAGE]
        int(pages.max())
