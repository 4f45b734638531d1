"""API keys: made, kept hashed in one file of the store, changed by commands, read by the service.

A key is 256 random bits. Nobody guesses that, so one round of SHA-256 keeps it safe in the file;
a slow hash protects what people think up, and would let anyone burn the service's time.
"""

import fcntl
import hashlib
import hmac
import ipaddress
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from indexer.errors import BadInput, NotFound, StoreError
from indexer.settings import store_errors, sync_folder

FILE_NAME = "keys.json"
ALL = "*"
PREFIX = "dslm"
LOOK_SECONDS = 0.25
NAME = r"\*|[a-z][a-z0-9-]{0,40}"
# Compared with where no key of that id exists, so that both take as long.
NOBODY = hashlib.sha256(b"").hexdigest()

PerMinute = Annotated[int, Field(ge=1)] | None


class Key(BaseModel):
    """What is known of a key. `chat`, `admin`: names of domains, or `*` for all there are."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    name: str
    sha256: str
    chat: tuple[str, ...] = ()
    admin: tuple[str, ...] = ()
    created: AwareDatetime
    expires: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    requests_per_minute: PerMinute = None
    tokens_per_minute: PerMinute = None

    def state(self, now: datetime) -> str:
        """`active`, `revoked` or `expired`."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires and self.expires <= now else "active"


class Keys(BaseModel):
    """The file's content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[Key, ...] = ()


class KeyFile:
    """The keys of a store, or those of another file. Readable and writable by its owner alone."""

    def __init__(self, store: Path, file: Path | None = None) -> None:
        self.path = file or store / FILE_NAME

    def read(self) -> tuple[Key, ...]:
        """StoreError if the file is there and cannot be understood."""
        with store_errors(self.path):
            try:
                content = self.path.read_bytes()
            except FileNotFoundError:
                return ()
        try:
            return Keys.model_validate_json(content).keys
        except ValidationError as error:
            reason = error.errors(include_url=False)[0]["msg"]
            message = f"{self.path} cannot be read: {reason}"
            raise StoreError(message, "Restore it, or remove it and add keys anew") from error

    def add(self, key: Key) -> None:
        self._change(lambda keys: (*keys, key))

    def revoke(self, key_id: str, now: datetime) -> Key:
        """End a key at once, for good."""
        old = self.find(key_id)
        revoked = old.model_copy(update={"revoked": old.revoked or now})
        self._change(lambda keys: tuple(revoked if k.id == key_id else k for k in keys))
        return revoked

    def find(self, key_id: str) -> Key:
        """NotFound if there is none of this id."""
        for key in self.read():
            if key.id == key_id:
                return key
        raise NotFound(f"There is no key {key_id}", "See `dslm keys list`")

    def _change(self, change: Callable[[tuple[Key, ...]], tuple[Key, ...]]) -> None:
        with self._writing():
            kept = Keys(keys=change(self.read()))
            _write_private(self.path, kept.model_dump_json(indent=1).encode())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with store_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_suffix(".lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


class KeyRing:
    """The keys as the running service sees them: a change of the file counts within a second."""

    def __init__(
        self,
        file: KeyFile,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._file = file
        self._clock = clock
        self._now = now
        self._looked = -LOOK_SECONDS
        self._stamp: tuple[int, int, int] | None = (0, 0, 0)
        self._keys: dict[str, Key] = {}
        self.broken: StoreError | None = None

    def configured(self) -> bool:
        """Are there keys? A file that cannot be read counts: nobody is let in by an accident."""
        self._look()
        return bool(self._keys) or self.broken is not None

    def find(self, text: str) -> Key | None:
        """The active key that `text` is; None for anything else, and never sooner."""
        self._look()
        prefix, _, rest = text.partition("-")
        known = self._keys.get(rest.partition("-")[0]) if prefix == PREFIX else None
        given = hashlib.sha256(text.encode(errors="replace")).hexdigest()
        same = hmac.compare_digest(given, known.sha256 if known else NOBODY)
        return known if known and same and known.state(self._now()) == "active" else None

    def _look(self) -> None:
        """At most a few times a second: what stands in between is in memory."""
        if self._clock() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._clock()
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = {key.id: key for key in self._file.read()}
            self.broken = None
        except StoreError as error:
            self._keys, self.broken = {}, error

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(256)  # asked of every request's Host
def is_loopback(host: str) -> bool:
    """Is this an address that only this machine reaches?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_to_stand_open(host: str, keys: tuple[Key, ...], *, allow_open: bool) -> None:
    """BadInput if anyone on the network could ask and change everything."""
    if not keys and not is_loopback(host) and not allow_open:
        raise BadInput(
            f"There are no API keys, and {host} can be reached from other machines",
            "Run `dslm keys add`, listen on 127.0.0.1, or set DSLM_ALLOW_OPEN=1",
        )


def new_key(
    name: str,
    *,
    chat: tuple[str, ...] = (),
    admin: tuple[str, ...] = (),
    days: int | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
) -> tuple[Key, str]:
    """A key and its text, which is shown once and kept nowhere."""
    if not chat and not admin:
        raise BadInput("The key would reach nothing", "Give --chat, --admin or --all")
    for one in (*chat, *admin):
        if not re.fullmatch(NAME, one):
            raise BadInput(f"{one!r} is no name of a domain", f"Write one, `base` or {ALL!r}")
    now = datetime.now(UTC)
    key_id = secrets.token_hex(6)
    text = f"{PREFIX}-{key_id}-{secrets.token_urlsafe(32)}"
    key = Key(
        id=key_id,
        name=name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        chat=chat,
        admin=admin,
        created=now,
        expires=now + timedelta(days=days) if days else None,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    return key, text


def _write_private(path: Path, content: bytes) -> None:
    """Atomic and durable; the content is never readable by others, not even for a moment."""
    new = path.with_name(f".{path.name}.new")
    with store_errors(path):
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        sync_folder(path.parent)
