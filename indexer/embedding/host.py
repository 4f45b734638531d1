"""The process that holds an embedding model for another one: see `indexer.embedding.apart`."""

import gc
import sys
from multiprocessing.connection import Connection

from indexer.embedding.apart import Described
from indexer.errors import DslmError
from indexer.lifeline import die_with


def main(end: int, parent: int) -> None:
    """Loads what it is told to, then embeds until nobody asks any more."""
    die_with(parent)
    with Connection(end) as asker:
        try:
            _serve(asker)
        except DslmError as error:
            asker.send(error)
        except (EOFError, ConnectionError):
            return


def _serve(asker: Connection) -> None:
    # What an import makes stays: to look through it for what has gone is a seventh of its time.
    gc.disable()
    from indexer.embedding.embedder import Embedder

    embedder = Embedder(asker.recv())
    gc.freeze()
    gc.enable()
    asker.send(Described.of(embedder))
    while True:
        texts, role = asker.recv()
        for batch in embedder.stream(texts, role):
            asker.send(batch)
        asker.send(None)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
