"""Reads and embeds on a Ray cluster, by Ray Data; the catalog stays with the job that asks.

The only module that imports Ray. One actor a machine (or a GPU) holds the embedding model. Files
are read where an actor runs, so every machine must see the document folders at the same place.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import ray
import ray.data

from indexer.domain import Domain, EmbedderSettings
from indexer.embedding.small_caches import SMALL_CACHES
from indexer.errors import DslmError, StoreError
from indexer.job.runner import Embedded, Role, Text, TextEmbedder
from indexer.reading.reader import ReaderPool, Reading
from indexer.reading.walk import SourceFile

_SHARD = 1024  # texts of one task, which sorts them by length
_SHARDS = 256  # of one execution: until it ends, its texts lie in Ray's object store
_FILES = 32  # of one task
_POLL_SECONDS = 0.1

Item = TypeVar("Item")


class RayRunner:
    """On the cluster that RAY_ADDRESS names, else on one that is started here for this job."""

    def __init__(self) -> None:
        self._connected = False

    def read(self, domain: Domain, files: Iterable[SourceFile]) -> Iterator[Reading]:
        """One reading per file, in the order given."""
        self._connect()
        for window in _groups(files, _FILES * _SHARDS):
            tasks = [pa.table({"files": [pickle.dumps(g)]}) for g in _groups(window, _FILES)]
            results = _mapped(tasks, _Reading, {"domain": domain}, gpus=0)
            for table in _polled(results, lambda: None):
                yield from pickle.loads(table["readings"][0].as_py())

    def embed(
        self,
        texts: Iterator[Text],
        role: Role,
        settings: EmbedderSettings,
        embedder: TextEmbedder,
        waiting: Callable[[], None],
    ) -> Iterator[Embedded]:
        """Each text once, in any order. StoreError: a machine embeds otherwise than this one."""
        self._connect()
        made_by = {"settings": settings, "role": role, "fingerprint": embedder.fingerprint}
        gpus = int(bool(ray.cluster_resources().get("GPU")))
        for window in _groups(texts, _SHARD * _SHARDS):
            tasks = [_table(shard) for shard in _groups(window, _SHARD)]
            for table in _polled(_mapped(tasks, _Embedding, made_by, gpus), waiting):
                yield _rows(table)

    def _connect(self) -> None:
        if self._connected:
            return
        if not ray.is_initialized():
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing calls home
            os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
            here = {} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False}
            ray.init(log_to_driver=False, logging_level="ERROR", **here)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # the job says how far it is
        self._connected = True


class _Reading:
    """An actor with a pool of reader processes."""

    def __init__(self, domain: Domain) -> None:
        self._pool = ReaderPool(domain).__enter__()

    def __call__(self, table: pa.Table) -> pa.Table:
        files: list[SourceFile] = pickle.loads(table["files"][0].as_py())
        return pa.table({"readings": [pickle.dumps(list(self._pool.read(files)))]})


class _Embedding:
    """An actor with an embedding model; it must be the very one that the job has."""

    def __init__(self, settings: EmbedderSettings, role: Role, fingerprint: str) -> None:
        os.environ.update({**SMALL_CACHES, **os.environ})
        from indexer.embedding.embedder import Embedder  # the job may need none of it

        self._role = role
        self._embedder = Embedder(settings)
        self._differs = self._embedder.fingerprint != fingerprint

    def __call__(self, table: pa.Table) -> pa.Table:
        if self._differs:
            return pa.table({"key": [b""], "vector": [self._embedder.fingerprint.encode()]})
        keys, texts = table["key"].to_pylist(), table["text"].to_pylist()
        found = [
            (keys[row], vector.astype("<f4").tobytes())
            for rows, vectors in self._embedder.stream(texts, self._role)
            for row, vector in zip(rows, vectors, strict=True)
        ]
        return pa.table({"key": [k for k, _ in found], "vector": [v for _, v in found]})


def _table(shard: list[Text]) -> pa.Table:
    return pa.table({"key": [key for key, _ in shard], "text": [text for _, text in shard]})


def _rows(table: pa.Table) -> Embedded:
    keys, vectors = table["key"].to_pylist(), table["vector"].to_pylist()
    if keys == [b""]:
        raise StoreError(
            f"A machine of the Ray cluster embeds otherwise than this one: {vectors[0].decode()}",
            "Install the same versions on all, or set `embedder.dtype` so that all use one format",
        )
    return [(k, np.frombuffer(v, dtype="<f4")) for k, v in zip(keys, vectors, strict=True)]


def _mapped(
    tasks: list[pa.Table], actor: type, arguments: dict[str, Any], gpus: int
) -> Iterator[pa.Table]:
    """Each table through an actor, in order, as they are ready."""
    places = int(ray.cluster_resources()["GPU"]) if gpus else len(ray.nodes())
    dataset = ray.data.from_arrow_refs([ray.put(task) for task in tasks]).map_batches(
        actor,
        fn_constructor_kwargs=arguments,
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(places, len(tasks))),
        num_gpus=gpus,
    )
    tables: Iterator[pa.Table] = iter(dataset.iter_batches(batch_size=None, batch_format="pyarrow"))
    return tables


def _polled(results: Iterator[Item], waiting: Callable[[], None]) -> Iterator[Item]:
    """The same, taken in a thread of its own, so that `waiting` is called while Ray works."""
    queue: SimpleQueue[Item | BaseException | None] = SimpleQueue()
    Thread(target=_drain, args=(results, queue), name="ray", daemon=True).start()
    while True:
        waiting()
        try:
            item = queue.get(timeout=_POLL_SECONDS)
        except Empty:
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise DslmError(f"The Ray cluster failed: {item}", "Look at its logs") from item
        yield item


def _drain(results: Iterator[Item], queue: SimpleQueue[Item | BaseException | None]) -> None:
    try:
        for item in results:
            queue.put(item)
        queue.put(None)
    except Exception as error:  # whatever an actor raises: it is raised again where it is awaited
        queue.put(error)


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while group := list(islice(rest, size)):
        yield group
