"""The speed of an embedding model itself on the chunks of a snapshot: its forward pass, no more.

By sentence-transformers, whatever runs it in a job.

`python -m eval.bench.indexing_raw SNAPSHOT SETTINGS TEXTS` prints one JSON object. The tokens are
there before the clock starts; texts are sorted by length; the batch size, and whether one thread
works on each of several batches or all on one, are the best of those that are tried.
"""

import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexer.domain import EmbedderSettings

_SIZES = (4, 8, 16, 32)
_TRIAL = 256


@dataclass(frozen=True, slots=True)
class Raw:
    """`rate` in chunks per second, `cpu_rate` per second of CPU time."""

    rate: float
    cpu_rate: float
    texts: int
    batch: int
    workers: int
    dtype: str


def measure(snapshot: Path, settings: EmbedderSettings, texts: int) -> Raw:
    """Over at most `texts` chunks of the snapshot, of all its lengths alike."""
    import torch

    from indexer.cores import cores
    from indexer.embedding.loaded import copied
    from indexer.embedding.loading import DTYPES, choose_dtype
    from indexer.embedding.weights import locate
    from indexer.embedding.whole import open_whole

    plain = settings.model_copy(update={"backend": "torch"})
    wanted = plain if plain.dtype != "int8" else plain.model_copy(update={"dtype": "auto"})
    dtype = choose_dtype(wanted, "cpu")
    loaded = open_whole(wanted.name, locate(wanted.name), "cpu", DTYPES[dtype])
    encoded = copied(loaded.tokenizer, loaded.limit).encode_batch(_texts(snapshot))
    ids = sorted((encoding.ids for encoding in encoded), key=len, reverse=True)
    ids = ids[:: max(1, len(ids) // texts)]
    trial = ids[:: max(1, len(ids) // _TRIAL)]

    def timed(batch: int, workers: int, some: Sequence[Sequence[int]]) -> tuple[float, float]:
        torch.set_num_threads(1 if workers > 1 else cores())
        batches = [_padded(some[at : at + batch]) for at in range(0, len(some), batch)]
        began, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(workers) as threads:
            list(threads.map(lambda pair: _forward(loaded, *pair), batches))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        return len(some) / took, len(some) / cpu

    timed(_SIZES[0], cores(), trial[::8])  # the first pass also sets things up
    tried = [(size, workers) for size in _SIZES for workers in sorted({1, cores()})]
    size, workers = max(tried, key=lambda pair: timed(pair[0], pair[1], trial)[0])
    rate, cpu_rate = timed(size, workers, ids)
    return Raw(rate, cpu_rate, len(ids), size, workers, dtype)


def _texts(snapshot: Path) -> list[str]:
    """What the job embedded: each chunk under its title and headings."""
    from indexer.store.snapshot import open_snapshot
    from indexer.store.tables import read_headings

    query = (
        "SELECT d.title, c.headings, substr(d.text, c.start + 1, c.end - c.start)"
        " FROM chunks c JOIN documents d ON d.path = c.document"
    )
    opened = open_snapshot(snapshot)
    try:
        rows = opened.read(query)
    finally:
        opened.close()
    context = [
        " > ".join([str(title), *read_headings(str(headings))]) for title, headings, _ in rows
    ]
    return [f"{above}\n{text}" for above, (_, _, text) in zip(context, rows, strict=True)]


def _padded(batch: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    import torch

    ids = torch.zeros(len(batch), max(map(len, batch)), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = torch.tensor(tokens)
        mask[row, : len(tokens)] = 1
    return ids, mask


def _forward(loaded: Any, ids: Any, mask: Any) -> Any:
    import torch

    with torch.inference_mode():
        pooled = loaded.pool(loaded.network(ids, mask).float(), mask)
        return torch.nn.functional.normalize(pooled, dim=-1).numpy()


def main() -> None:
    snapshot, settings, texts = sys.argv[1:4]
    found = measure(Path(snapshot), EmbedderSettings.model_validate_json(settings), int(texts))
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main()
