"""What a loaded embedding model consists of, whichever way its folder was read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True, slots=True)
class Parts:
    """`network` gives a vector per token of ids and mask [n, t]; `pool`, in float32, one vector
    per text of those and the mask.

    `weights` by number of module and name; `tokenizer` as the folder has it; `limit` is the most
    tokens that are read; `pooling` in words; `prompts` as they are stored with the model.
    `whole` gives the network as transformers has it in float32, for other libraries to convert.
    """

    network: Network
    pool: Network
    weights: Mapping[str, torch.Tensor]
    tokenizer: Tokenizer
    padding: int
    limit: int
    pooling: str
    prompts: Mapping[str, str]
    whole: Callable[[], torch.nn.Module]


def copied(tokenizer: Tokenizer, limit: int | None) -> Tokenizer:
    """One that cuts at `limit`, or never; it does not pad, so threads may share it."""
    copy: Tokenizer = Tokenizer.from_str(tokenizer.to_str())
    copy.no_padding()
    if limit is None:
        copy.no_truncation()
    else:
        copy.enable_truncation(limit)
    return copy
