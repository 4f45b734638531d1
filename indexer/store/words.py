"""The index of words of a snapshot, made of its records: here or in a process of its own."""

import contextlib
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

from indexer.errors import DslmError
from indexer.index import lexical
from indexer.settings import store_errors
from indexer.store.tables import read_headings


def build_words(records: Path, folder: Path) -> None:
    """Durably. StoreError where it cannot be written."""
    lexical.build(lambda: searched_texts(records), folder)


def searched_texts(records: Path) -> Iterator[str]:
    """For each row what its words are looked up in: title, headings and the chunk's text."""
    address = f"{records.resolve().as_uri()}?mode=ro&immutable=1"
    with store_errors(records), contextlib.closing(sqlite3.connect(address, uri=True)) as db:
        documents = db.execute("SELECT path, title, text FROM documents ORDER BY path")
        chunks = db.execute("SELECT document, start, end, headings FROM chunks ORDER BY row")
        path, title, text = "", "", ""
        for document, start, end, headings in chunks:
            while path != document:
                path, title, text = next(documents)
            yield "\n".join([title, *read_headings(headings), text[start:end]])


def _main() -> int:
    try:
        build_words(Path(sys.argv[1]), Path(sys.argv[2]))
    except DslmError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main())
