"""Cross-encoders: models that read question and passage together and say how well they fit.

The only module that loads one; the retriever is given a `Scorer` and knows no more.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np

from indexer.errors import BadInput, DslmError
from indexer.records import Vectors

# A question and texts to one score each, higher is better.
Scorer: TypeAlias = Callable[[str, Sequence[str]], Vectors]

_LONGEST = 512


def load_scorer(name: str) -> Scorer:
    """The cross-encoder in a folder or of a name on the hub. BadInput if it cannot be loaded."""
    import torch
    from sentence_transformers import CrossEncoder

    device = "cuda" if torch.cuda.is_available() else "cpu"
    place = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
    try:
        encoder = CrossEncoder(
            place,
            device=device,
            max_length=_LONGEST,
            model_kwargs={"dtype": torch.bfloat16 if device == "cuda" else torch.float32},
        )
    except (OSError, ValueError) as error:
        raise BadInput(
            f"The cross-encoder {name!r} cannot be loaded: {str(error).splitlines()[0]}",
            "Give `retrieval.rerank` a folder that holds it, or a name that the model hub has",
        ) from error
    if encoder.num_labels != 1:
        raise BadInput(
            f"The cross-encoder {name!r} gives {encoder.num_labels} numbers a pair, not one",
            "Use a model that was trained to rank, with one output",
        )
    lock = threading.Lock()  # the tokenizer's padding is a state that threads would share

    def score(question: str, texts: Sequence[str]) -> Vectors:
        with lock:
            found = encoder.predict([(question, text) for text in texts], show_progress_bar=False)
        scores = np.asarray(found, dtype=np.float32).reshape(len(texts))
        if not np.all(np.isfinite(scores)):
            raise DslmError(f"The cross-encoder {name!r} gave a score that is not a number")
        return scores

    return score
