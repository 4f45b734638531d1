"""BERTScore (Zhang et al., arXiv:1904.09675): how alike two texts are, token by token, in a model.

The same numbers as the package `bert-score` gives, with the same name for how they were made. Raw
scores of most models lie above .8 for any two English texts: the rescaled ones can be read.

RoBERTa knows a first word by the space before it. The package asks for that space, which
transformers 5 silently ignores; here it is put there, as behind the published scores, and the name
then says `_prefix-space`.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eval.scoring.labels import Scores
from indexer.errors import BadInput

if TYPE_CHECKING:
    import torch

EQUALS: Final = "0.3.12"  # what bert-score 0.3.13 calls itself, whose results these are
# Of the package's own list, by the model's name: the layer that agrees best with people.
LAYERS: Final = {
    "roberta-large": 17,
    "roberta-base": 10,
    "bert-base-uncased": 9,
    "bert-large-uncased": 18,
    "distilbert-base-uncased": 5,
    "deberta-xlarge-mnli": 40,
    "deberta-large-mnli": 18,
}
# What two unlike sentences score there: precision, recall, F1.
BASELINES: Final = {("roberta-large", 17): Scores(0.83150584, 0.8314941, 0.83122575)}
_BATCH: Final = 32


@dataclass(frozen=True, slots=True)
class BertScoreSettings:
    """`layer` None: the usual one of a model of this name; `baseline`: a table LAYER,P,R,F."""

    model: str
    layer: int | None = None
    idf: bool = False
    baseline: Path | None = None


@dataclass(frozen=True, slots=True)
class BertScored:
    """`rescaled` is None without a baseline; `cut`: texts longer than the model reads."""

    raw: tuple[Scores, ...]
    rescaled: tuple[Scores, ...] | None
    name: str
    cut: int


@dataclass(frozen=True, slots=True)
class _Text:
    """A text's tokens: unit vectors [n, d], and how much each counts."""

    vectors: torch.Tensor
    ids: tuple[int, ...]


def bert_scores(
    answers: Sequence[str], expected: Sequence[str], settings: BertScoreSettings
) -> BertScored:
    """Precision, recall and F1 of each answer. BadInput if the model or its layer is not there."""
    layer = _layer(settings)
    baseline = _baseline(settings, layer)
    encoder = _Encoder(settings.model, layer)
    texts = encoder.encode([*answers, *expected])
    weights = _weights(encoder, [texts[one.strip()] for one in expected], idf=settings.idf)
    raw = tuple(
        _match(texts[said.strip()], texts[wanted.strip()], weights)
        for said, wanted in zip(answers, expected, strict=True)
    )
    rescaled = tuple(_rescaled(one, baseline) for one in raw) if baseline else None
    name = _name(settings, layer, encoder, rescaled=baseline is not None)
    return BertScored(raw, rescaled, name, encoder.cut)


def _layer(settings: BertScoreSettings) -> int:
    layer = settings.layer or LAYERS.get(Path(settings.model).name)
    if layer is None:
        raise BadInput(
            f"BERTScore needs the layer of {settings.model}",
            f"Give `layer:`; it is known of {', '.join(LAYERS)}",
        )
    return layer


def _name(settings: BertScoreSettings, layer: int, encoder: _Encoder, *, rescaled: bool) -> str:
    """As `bert_score.utils.get_hash` writes it, which publications quote."""
    idf = "_idf" if settings.idf else "_no-idf"
    name = f"{settings.model}_L{layer}{idf}_version={EQUALS}(hug_trans={encoder.library})"
    if rescaled:
        name += "-custom-rescaled" if settings.baseline else "-rescaled"
    return name + ("_prefix-space" if encoder.spaced else "")


class _Encoder:
    """A model up to one of its layers, on the CPU or the first GPU."""

    def __init__(self, model: str, layer: int) -> None:
        import torch
        import transformers
        from transformers import AutoConfig, AutoModel, AutoTokenizer
        from transformers.utils import logging

        logging.disable_progress_bar()
        self.library: str = transformers.__version__
        self.cut = 0
        try:
            config = AutoConfig.from_pretrained(model)
            if not 0 < layer <= config.num_hidden_layers:
                raise BadInput(
                    f"{model} has no layer {layer}", f"It has 1 to {config.num_hidden_layers}"
                )
            config.num_hidden_layers = layer
            self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
            self._network: Any = AutoModel.from_pretrained(model, config=config).eval()
        except OSError as error:
            said = str(error).splitlines()[0]
            raise BadInput(f"Cannot load {model} ({said:.120})", "Check `model:`") from error
        kind = type(self._tokenizer).__name__.removesuffix("Fast")
        self.spaced = kind in {"RobertaTokenizer", "GPT2Tokenizer"}
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._network.to(self._device)
        self._most = _most_tokens(self._tokenizer.model_max_length, config)

    @property
    def edges(self) -> set[int]:
        """The tokens that open and close a text, and say nothing."""
        return {self._tokenizer.cls_token_id, self._tokenizer.sep_token_id}

    def encode(self, texts: Sequence[str]) -> dict[str, _Text]:
        """Each different text once, the longest together; by the text without outer space."""
        ids = {one: self._ids(one) for one in dict.fromkeys(text.strip() for text in texts)}
        ordered = sorted(ids, key=lambda one: len(ids[one]), reverse=True)
        found: dict[str, _Text] = {}
        for start in range(0, len(ordered), _BATCH):
            batch = ordered[start : start + _BATCH]
            for text, vectors in zip(
                batch, self._vectors([ids[one] for one in batch]), strict=True
            ):
                found[text] = _Text(vectors, tuple(ids[text]))
        return found

    def _ids(self, text: str) -> list[int]:
        spaced = f" {text}" if text and self.spaced else text
        ids: list[int] = self._tokenizer(spaced, verbose=False)["input_ids"]
        if len(ids) <= self._most:
            return ids
        self.cut += 1
        shortened: list[int] = self._tokenizer(spaced, truncation=True, max_length=self._most)[
            "input_ids"
        ]
        return shortened

    def _vectors(self, batch: Sequence[Sequence[int]]) -> list[torch.Tensor]:
        import torch

        longest = max(map(len, batch))
        fill = self._tokenizer.pad_token_id
        ids = torch.tensor([[*one, *[fill] * (longest - len(one))] for one in batch])
        seen = torch.tensor([[1] * len(one) + [0] * (longest - len(one)) for one in batch])
        with torch.no_grad():
            found = self._network(ids.to(self._device), attention_mask=seen.to(self._device))[0]
        units = torch.nn.functional.normalize(found.float().cpu(), dim=-1)
        return [row[: len(one)] for row, one in zip(units, batch, strict=True)]


def _most_tokens(stated: int, config: Any) -> int:
    """What the tokenizer states, within what the network has places for."""
    places = getattr(config, "max_position_embeddings", stated)
    if config.model_type in {"roberta", "xlm-roberta", "camembert"}:
        places -= config.pad_token_id + 1  # their places are counted from behind the padding
    return min(stated, places)


def _weights(encoder: _Encoder, expected: Sequence[_Text], *, idf: bool) -> dict[int, float]:
    """What each token counts: nothing at the edges, or by how few expected texts have it."""
    every = {token for text in expected for token in text.ids}
    if not idf:
        return dict.fromkeys(encoder.edges, 0.0)
    counts = Counter(token for text in expected for token in set(text.ids))
    total = len(expected) + 1
    rare = {token: math.log(total / (counts[token] + 1)) for token in every}
    return {**rare, _UNSEEN: math.log(total)}


_UNSEEN: Final = -1  # the key of tokens that no expected text has


def _match(said: _Text, wanted: _Text, weights: dict[int, float]) -> Scores:
    """Each token with its nearest of the other text (the paper, section 3)."""
    if len(said.ids) <= 2 or len(wanted.ids) <= 2:
        return Scores(0.0, 0.0, 0.0)
    alike = said.vectors @ wanted.vectors.T
    precision = _mean(alike.max(dim=1).values, said.ids, weights)
    recall = _mean(alike.max(dim=0).values, wanted.ids, weights)
    both = precision + recall
    return Scores(precision, recall, 2 * precision * recall / both if both else 0.0)


def _mean(best: torch.Tensor, ids: Sequence[int], weights: dict[int, float]) -> float:
    other = weights.get(_UNSEEN, 1.0)
    counted = [weights.get(token, other) for token in ids]
    total = sum(counted)
    return sum(a * b for a, b in zip(best.tolist(), counted, strict=True)) / total if total else 0.0


def _rescaled(raw: Scores, low: Scores) -> Scores:
    """So that two unlike texts have about 0 (Zhang et al., the package's journal)."""
    return Scores(
        (raw.precision - low.precision) / (1 - low.precision),
        (raw.recall - low.recall) / (1 - low.recall),
        (raw.f1 - low.f1) / (1 - low.f1),
    )


def _baseline(settings: BertScoreSettings, layer: int) -> Scores | None:
    if settings.baseline is None:
        return None if settings.idf else BASELINES.get((Path(settings.model).name, layer))
    try:
        with settings.baseline.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if int(row["LAYER"]) == layer:
                    return Scores(float(row["P"]), float(row["R"]), float(row["F"]))
    except (OSError, KeyError, ValueError) as error:
        raise BadInput(
            f"{settings.baseline} is no table of baselines ({error})",
            "Its head is LAYER,P,R,F; bert-score has them under rescale_baseline",
        ) from error
    raise BadInput(f"{settings.baseline} has no layer {layer}", "Give that of this model")
