"""The command `dslm plan`: which GPU for which base, before anybody has bought one."""

import json
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from indexer.errors import BadInput

if TYPE_CHECKING:
    from service.engines.capacity import Fit, IndexNeed, Wish
    from service.engines.shapes import PlannedBase

EXAMPLES = (
    "plan 8b",
    "plan 70b --gpu H100 --gpus 2 --kv fp8 --context 16384 --answers 16",
    "plan Qwen/Qwen2.5-7B-Instruct --adapters 16 --rank 32 --passages 5000000 --json",
)
LARGEST_RANK = 512


class StoredAs(StrEnum):
    """How the weights lie on the GPU."""

    bf16 = "bf16"
    fp8 = "fp8"
    int4 = "int4"


class CacheAs(StrEnum):
    """How the KV cache lies there."""

    bf16 = "bf16"
    fp8 = "fp8"


class Kind(StrEnum):
    """Of an index of vectors: `index.kind` of a domain."""

    auto = "auto"
    flat = "flat"
    fp16 = "fp16"
    sq8 = "ivf-sq8"
    rabitq = "ivf-rabitq"


def plan(
    base: Annotated[str, typer.Argument(help="7b, 8b, 13b, 32b, 70b, a known hub id, or a folder")],
    gpu: Annotated[str | None, typer.Option(help="one kind; else all that are known")] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="so many; else as few as do")] = None,
    context_length: Annotated[int, typer.Option("--context", min=16, help="tokens")] = 8192,
    answers: Annotated[int, typer.Option(min=1, help="written at once")] = 32,
    adapters: Annotated[int, typer.Option(min=0, help="that answer at once")] = 8,
    rank: Annotated[int, typer.Option(min=1, max=LARGEST_RANK, help="the largest")] = 16,
    registered: Annotated[int, typer.Option(min=0, help="adapters in host memory")] = 64,
    weights: Annotated[StoredAs, typer.Option(help="of the base")] = StoredAs.bf16,
    kv: Annotated[CacheAs, typer.Option(help="of the KV cache")] = CacheAs.bf16,
    passages: Annotated[int, typer.Option(min=0, help="in all indexes of a server")] = 1_000_000,
    dimensions: Annotated[int, typer.Option(min=1, help="of the embedding")] = 384,
    index: Annotated[Kind, typer.Option(help="kind of index")] = Kind.auto,
    as_json: Annotated[bool, typer.Option("--json", help="bytes, for a program")] = False,
) -> None:
    """Which GPU holds a base with its adapters and answers, and what its indexes take.

    Exit code 2 if nothing that was asked about holds it; what would is said.
    """
    from service.engines.capacity import Wish, index_need, registered_bytes
    from service.engines.shapes import find_shape

    shape = find_shape(base)
    wish = Wish(context_length, answers, adapters, rank, weights.value, kv is CacheAs.fp8)
    if context_length > shape.context:
        raise BadInput(
            f"{shape.name} reads {shape.context:,} tokens, not {context_length:,}",
            f"Give --context {shape.context} or less",
        )
    found = _asked(shape, wish, gpu, gpus)
    indexes = index_need(passages, dimensions, index.value)
    host = registered_bytes(shape, rank, registered)
    if as_json:
        typer.echo(json.dumps(_described(shape, wish, found, indexes, host), indent=1))
    else:
        _print(shape, wish, found, indexes, host)
    raise typer.Exit(0 if any(one.fits for one in found) else BadInput.exit_code)


def _asked(shape: "PlannedBase", wish: "Wish", gpu: str | None, count: int | None) -> "list[Fit]":
    from service.engines.capacity import GPUS, fewest, fit

    known = {name.lower(): name for name in GPUS}
    if gpu is not None and gpu.lower() not in known:
        raise BadInput(f"The GPU {gpu} is not known", f"Give one of {', '.join(GPUS)}")
    if count is not None and shape.heads % count:
        even = [number for number in (1, 2, 4, 8) if shape.heads % number == 0]
        raise BadInput(
            f"{shape.name} has {shape.heads} heads, which {count} GPUs cannot share",
            f"Give --gpus {', '.join(map(str, even))}",
        )
    names = [known[gpu.lower()]] if gpu is not None else list(GPUS)
    if count is None:
        return [fewest(shape, wish, name) for name in names]
    return [fit(shape, wish, name, count) for name in names]


def _print(
    shape: "PlannedBase", wish: "Wish", found: "list[Fit]", indexes: "IndexNeed", host: int
) -> None:
    from service.engines.capacity import remedy, told_base, told_fit
    from service.engines.plan import gib

    typer.echo(told_base(shape, wish))
    for one in found:
        typer.echo(f"  {told_fit(one)}")
        if way := remedy(shape, wish, one):
            typer.echo(f"{'':15}what would fit: {way}")
    typer.echo(f"host memory: {gib(host)} for registered adapters")
    typer.echo(
        f"indexes ({indexes.kind}): {gib(indexes.vectors)} of memory, {gib(indexes.words)} of page "
        f"cache for words, {gib(indexes.disk)} of disk for each snapshot"
    )


def _described(
    shape: "PlannedBase", wish: "Wish", found: "list[Fit]", indexes: "IndexNeed", host: int
) -> dict[str, Any]:
    """For a program: everything in bytes."""
    from service.engines.capacity import remedy
    from service.engines.memory import token_bytes

    return {
        "base": shape.name,
        "wish": asdict(wish),
        "kv_bytes_per_token": token_bytes(shape.numbers, wish.cache_size),
        "gpus": [
            {
                "gpu": one.gpu,
                "count": one.count,
                "fits": one.fits,
                "answers": one.answers,
                "weights": one.need.weights,
                "slots": one.need.slots,
                "work": one.need.work,
                "cache": one.cache,
                "what_would_fit": remedy(shape, wish, one),
            }
            for one in found
        ],
        "registered_adapters": host,
        "index": asdict(indexes),
    }
