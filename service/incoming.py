"""One request's files on their way: streamed to disk, bounded, published together or not at all."""

import contextlib
import os
import shutil
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.errors import InvalidRequest, OutOfSpace, TooLarge
from service.settings import ServiceSettings
from service.uploads import INCOMING, Upload, Uploads, clean_name, disk_errors

_MIB = 2**20


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """In bytes, and in files for one request."""

    file: int
    request: int
    files: int

    @classmethod
    def of(cls, settings: ServiceSettings) -> "UploadLimits":
        file, request = settings.max_upload_mb, settings.max_upload_request_mb
        return cls(file * _MIB, request * _MIB, settings.max_upload_files)


class Incoming:
    """The files of one request while they arrive, in a folder of their own."""

    def __init__(self, uploads: Uploads, limits: UploadLimits, needed: int = 0) -> None:
        """Begin a request of `needed` bytes, if known: `publish` or `abandon` must follow."""
        home = uploads.root / INCOMING
        with disk_errors(home):
            home.mkdir(parents=True, exist_ok=True)
            if needed > shutil.disk_usage(home).free:
                raise OutOfSpace(f"There is no room for {needed} bytes", "Free some disk space")
            self._folder = Path(tempfile.mkdtemp(dir=home))
        self._uploads = uploads
        self._limits = limits
        self._files: dict[str, Path] = {}
        self._open: BinaryIO | None = None
        self._size = 0
        self._closed = False
        self._writing = threading.Lock()

    def begin(self, raw_name: str) -> None:
        """The next file."""
        name = clean_name(raw_name)
        if name in self._files:
            raise InvalidRequest(f"'{name}' was sent twice", "Send it once", param="file")
        if len(self._files) == self._limits.files:
            most = self._limits.files
            raise TooLarge(f"More than {most} files were sent", "Send them in several requests")
        with self._writing, disk_errors(self._folder):
            self._files[name] = self._folder / str(len(self._files))
            self._open, self._size = self._files[name].open("xb"), 0

    def write(self, content: bytes) -> None:
        """More of the file."""
        self._size += len(content)
        if self._size > self._limits.file:
            name, most = next(reversed(self._files)), self._limits.file // _MIB
            raise TooLarge(f"'{name}' is larger than {most} MiB", "Raise DSLM_MAX_UPLOAD_MB")
        with self._writing, disk_errors(self._folder):
            if self._closed or self._open is None:
                raise InvalidRequest("The upload has ended")
            self._open.write(content)

    def end(self) -> None:
        """The file is whole: bring it to the disk."""
        with self._writing, disk_errors(self._folder):
            assert self._open is not None
            with self._open as file:
                file.flush()
                os.fsync(file.fileno())
            self._open = None

    def publish(self, replace: bool = True) -> list[Upload]:
        """Put them among the documents. AlreadyThere if there is one and `replace` is false."""
        self._uploads.publish(self._files, replace)
        found = [self._uploads.find(name) for name in self._files]
        self.abandon()
        return [upload for upload in found if upload]

    def abandon(self) -> None:
        """Leave nothing behind; waits for a write that is under way."""
        with self._writing:
            self._closed = True
            if self._open:
                with contextlib.suppress(OSError):  # what is buffered may not fit the disk
                    self._open.close()
            shutil.rmtree(self._folder, ignore_errors=True)
