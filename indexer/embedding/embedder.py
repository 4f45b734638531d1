"""Texts to unit vectors, with the pooling, prefix and number format that the model wants.

The only module that loads an embedding model. Whatever the weights' format, pooling and
normalising happen in float32; bfloat16 weights are used where the processor multiplies them.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import torch
from huggingface_hub import snapshot_download
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast
from transformers.utils import logging as transformers_logging

from indexer.domain import EmbedderSettings
from indexer.embedding.weights import PACKAGED, Family, family_of, library_versions, locate
from indexer.errors import BadInput, DslmError
from indexer.records import Vectors

Role: TypeAlias = Literal["passage", "question", "query"]

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})
# Of a repository on the hub: what other libraries read. The weights are taken as safetensors.
_UNUSED = ["*.h5", "*.msgpack", "*.onnx", "*.ot", "onnx/*", "openvino/*", "pytorch_model.bin"]
_GPU_BATCH_TOKENS = 16_384
_CHECKPOINT = 64


class Embedder:
    """A loaded embedding model, for any number of threads.

    `fingerprint` names everything that decides a vector's bits; `space` only what decides whether
    vectors can be compared: an index made with bf16 on one machine serves fp32 questions.
    """

    def __init__(self, settings: EmbedderSettings, device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = _choose_dtype(settings, self.device)
        if self.device == "cpu":
            torch.set_num_threads(1)  # for each of our threads: many small texts, not one large
        self._encoder = _load(settings.name, self.device, _DTYPES[self.dtype])
        self._lock = threading.Lock()
        family = family_of(settings.name)
        self.pooling = _check_pooling(settings.name, self._encoder, family)
        self.query_prefix = family.query_prefix or _stored_prompt(self._encoder, "query")
        self.passage_prefix = family.passage_prefix or _stored_prompt(
            self._encoder, "document", "passage"
        )
        self._counter = _counting_tokenizer(settings.name, self._encoder)
        self.max_tokens = self._room()
        self.dimension = int(next(self._encode([["probe"]])).shape[1])
        self.space = self._digest(_sample_of_weights(self._encoder))
        self.fingerprint = self._fingerprint(settings.name)

    def count_tokens(self, text: str) -> int:
        """The model's own tokens, without those that every text gets."""
        return len(self._counter.encode(text, add_special_tokens=False).ids)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Questions that look for passages: unit rows [n, dimension]."""
        return self._embed([self.query_prefix + text for text in texts])

    def embed_passages(self, texts: Sequence[str]) -> Vectors:
        """Passages that questions look for: unit rows [n, dimension]."""
        return self._embed([self.passage_prefix + text for text in texts])

    def embed_symmetric(self, texts: Sequence[str]) -> Vectors:
        """Texts compared with their like, question with question: unit rows [n, dimension]."""
        return self._embed(list(texts))

    def stream(self, texts: Sequence[str], role: Role) -> Iterator[tuple[list[int], Vectors]]:
        """Rows of `texts` with their unit vectors [rows, dimension], batch by batch as made.

        Longest first. `passage` is looked for, `query` looks for it, and a `question` is compared
        with questions. Each row comes once; leaving the loop stops the work.
        """
        prefix = {"passage": self.passage_prefix, "query": self.query_prefix, "question": ""}[role]
        prefixed = [prefix + text for text in texts]
        lengths = [self.count_tokens(text) for text in prefixed]
        budget = 0 if self.device == "cpu" else _GPU_BATCH_TOKENS
        batches = list(_batches(lengths, budget))
        for first in range(0, len(batches), _CHECKPOINT):
            window = batches[first : first + _CHECKPOINT]
            found = list(self._encode([[prefixed[row] for row in rows] for rows in window]))
            yield [row for rows in window for row in rows], np.concatenate(found)

    def embed_question(self, text: str) -> tuple[Vectors, Vectors]:
        """Two vectors [dimension], to find passages and demonstrations; one pass if it suffices."""
        if not self.query_prefix:
            vector = self._embed([text])[0]
            return vector, vector
        for_passages, for_demonstrations = self._embed([self.query_prefix + text, text])
        return for_passages, for_demonstrations

    def _embed(self, texts: list[str]) -> Vectors:
        result = np.empty((len(texts), self.dimension), dtype=np.float32)
        lengths = [self.count_tokens(text) for text in texts]
        budget = 0 if self.device == "cpu" else _GPU_BATCH_TOKENS
        batches = list(_batches(lengths, budget))
        for rows, vectors in zip(
            batches, self._encode([[texts[row] for row in rows] for rows in batches]), strict=True
        ):
            result[rows] = vectors
        return result

    def _encode(self, batches: list[list[str]]) -> Iterator[Vectors]:
        """Several at a time on a CPU, where one small text cannot keep two cores busy."""
        if len(batches) == 1 or self.device != "cpu":
            yield from map(self._forward, batches)
            return
        with ThreadPoolExecutor(_cores()) as threads:
            yield from threads.map(self._forward, batches)

    def _forward(self, batch: list[str]) -> Vectors:
        with torch.inference_mode():
            with self._lock:  # the tokenizer's padding is a state that threads would share
                prepared = self._encoder.preprocess(batch)
            features = {
                key: value.to(self.device) if isinstance(value, torch.Tensor) else value
                for key, value in prepared.items()
            }
            first, *rest = self._encoder
            features = first(features)
            features["token_embeddings"] = features["token_embeddings"].float()
            for module in rest:
                features = module(features)
            pooled = features["sentence_embedding"].float()
            vectors = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return _checked(vectors)

    def _room(self) -> int:
        limit = self._encoder.max_seq_length or 512
        special = len(self._counter.encode("").ids)
        prefix = max(self.count_tokens(self.query_prefix), self.count_tokens(self.passage_prefix))
        return int(limit) - special - prefix

    def _digest(self, *parts: str) -> str:
        how = (self.pooling, self.query_prefix, self.passage_prefix, self.max_tokens, "normalised")
        return hashlib.sha256(json.dumps([*how, *parts]).encode()).hexdigest()[:16]

    def _fingerprint(self, name: str) -> str:
        versions = json.dumps(library_versions(), sort_keys=True)
        digest = self._digest(self.space, self.dtype, self.device, versions)
        return f"{Path(name).name}/{self.dtype}/{self.pooling}/{self.dimension}/{digest}"


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _choose_dtype(settings: EmbedderSettings, device: str) -> str:
    if settings.dtype != "auto":
        return settings.dtype
    if device != "cpu":
        return "bf16"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:
        return "fp32"
    return "fp32" if _CPU_FLAGS.isdisjoint(flags) else "bf16"


def _load(name: str, device: str, dtype: torch.dtype) -> SentenceTransformer:
    transformers_logging.disable_progress_bar()
    place = locate(name)
    try:
        # Fetched as a whole: file by file, a machine without network would wait a minute for each.
        folder = (
            place if Path(place).is_dir() else snapshot_download(place, ignore_patterns=_UNUSED)
        )
        # The format is always given: T5 weights stored as fp16 would be run as fp16 otherwise.
        encoder = SentenceTransformer(
            folder, device=device, model_kwargs={"dtype": dtype}, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise BadInput(
            f"The embedding model {name!r} cannot be loaded: {str(error).splitlines()[0]}",
            f"Give `embedder.name` a folder that holds it, a name that the model hub has, or"
            f" {PACKAGED!r}, which comes with this installation",
        ) from error
    for module in list(encoder)[1:]:
        module.float()
    return encoder.eval()


def _check_pooling(name: str, encoder: SentenceTransformer, family: Family) -> str:
    """The pooling and the layers after it, in words; BadInput if the family pools otherwise."""
    found = "+".join(str(m.pooling_mode) for m in encoder if isinstance(m, Pooling))
    if family.pooling and found != family.pooling:
        raise BadInput(
            f"The embedding model {name!r} pools by {found or 'nothing'}, but models of this name"
            f" need {family.pooling}",
            "Use a copy that holds the files of sentence-transformers (modules.json, 1_Pooling)",
        )
    return found + "".join("+dense" for module in encoder if isinstance(module, Dense))


def _stored_prompt(encoder: SentenceTransformer, *names: str) -> str:
    stored = (encoder.prompts.get(name) for name in names)
    return next((prompt for prompt in stored if prompt), "")


def _counting_tokenizer(name: str, encoder: SentenceTransformer) -> Tokenizer:
    """A copy that never cuts nor pads, safe to use from several threads."""
    tokenizer = encoder.tokenizer
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise BadInput(
            f"The embedding model {name!r} has no tokenizer.json", "Use a model that has one"
        )
    copy: Tokenizer = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _sample_of_weights(encoder: SentenceTransformer) -> str:
    """Tells two trainings of the same architecture apart without reading every weight."""
    digest = hashlib.sha256()
    for name, weights in sorted(encoder.state_dict().items()):
        sample = weights.detach().flatten()[:64].to(torch.bfloat16).float().cpu().numpy()
        digest.update(name.encode() + sample.tobytes())
    return digest.hexdigest()


def _batches(lengths: list[int], budget: int) -> Iterator[list[int]]:
    """Rows of like length together, padded size within `budget` tokens; always at least one.

    On a CPU each text stands alone: nothing is padded, hardly slower than four at a time, and a
    vector depends on its text only, so that a job that was resumed ends with the same bytes.
    """
    batch: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if batch and (len(batch) + 1) * max(lengths[batch[0]], 1) > budget:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _checked(vectors: Vectors) -> Vectors:
    norms = np.linalg.norm(vectors, axis=1)
    if not np.all(np.abs(norms - 1.0) < 1e-3):
        raise DslmError(
            "The embedding model gave a vector that is not finite or has no length",
            'Set `embedder.dtype` = "fp32", or use another embedding model',
        )
    return vectors
