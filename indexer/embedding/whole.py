"""Any model of sentence-transformers, read by that library; importing it takes six seconds."""

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from indexer.embedding.loaded import Network, Parts
from indexer.errors import BadInput

_LONGEST = 512


def open_whole(name: str, folder: str, device: str, dtype: torch.dtype) -> Parts:
    """OSError, ValueError: it cannot be read. BadInput: it has no fast tokenizer."""
    encoder = _encoder(folder, device, dtype)
    transformer, *head = encoder
    for module in head:
        module.float()
    tokenizer = encoder.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BadInput(
            f"The embedding model {name!r} has no tokenizer.json", "Use a model that has one"
        )
    return Parts(
        network=_network(transformer),
        pool=_pool(head),
        weights={
            f"{number}.{key}": weights
            for number, module in enumerate(encoder)
            for key, weights in sorted(module.state_dict().items())
        },
        tokenizer=tokenizer.backend_tokenizer,
        padding=int(tokenizer.pad_token_id or 0),
        limit=int(encoder.max_seq_length or _LONGEST),
        pooling=_pooling(encoder),
        prompts={key: prompt for key, prompt in encoder.prompts.items() if prompt},
        whole=lambda: whole_network(folder),
    )


def whole_network(folder: str) -> torch.nn.Module:
    """The bare network in float32, by transformers, on the processor."""
    network = _encoder(folder, "cpu", torch.float32)[0].auto_model
    assert isinstance(network, torch.nn.Module)
    return network


def _encoder(folder: str, device: str, dtype: torch.dtype) -> SentenceTransformer:
    transformers_logging.disable_progress_bar()
    # The format is always given: T5 weights stored as fp16 would be run as fp16 otherwise.
    encoder = SentenceTransformer(
        folder, device=device, model_kwargs={"dtype": dtype}, local_files_only=True
    )
    return encoder.eval()


def _network(transformer: torch.nn.Module) -> Network:
    def network(ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features = {"input_ids": ids, "attention_mask": mask}
        tokens: torch.Tensor = transformer(features)["token_embeddings"]
        return tokens

    return network


def _pool(head: list[torch.nn.Module]) -> Network:
    def pool(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features = {"token_embeddings": tokens, "attention_mask": mask}
        for module in head:
            features = module(features)
        return features["sentence_embedding"]

    return pool


def _pooling(encoder: SentenceTransformer) -> str:
    """The pooling and the layers after it."""
    found = "+".join(str(m.pooling_mode) for m in encoder if isinstance(m, Pooling))
    return found + "".join("+dense" for module in encoder if isinstance(module, Dense))
