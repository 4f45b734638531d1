"""The arguments of a training run, and the material it needs, kept in the run's folder."""

import argparse
import json
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.base.corpus import Corpus, read_corpus
from deploy.demo.base.encoding import Encoder
from deploy.demo.base.invent import load_facts
from deploy.demo.base.makers import Material
from deploy.demo.base.network import Shape
from deploy.demo.base.questions import Synonyms, nearest_words
from deploy.demo.base.text import WORD, Overlap
from deploy.demo.base.vocabulary import load_tokenizer, train_tokenizer, with_chat_template

EXAMPLES = """examples:
  python -m deploy.demo.train_base --data data --out run --minutes 120
  python -m deploy.demo.train_base --data data --out run --minutes 120 --resume
  python -m deploy.demo.train_base --data data --out run --minutes 15 --device cuda --workers 14
then:
  python -m deploy.demo.base.export --run run --to deploy/demo/model
  python -m deploy.demo.base.evaluate --model deploy/demo/model --data data

The data folder's layout is described at the top of deploy/demo/base/corpus.py.
"""
_TOKENIZER_SENTENCES, _SYNONYM_WORDS = 150_000, 10_000


@dataclass(frozen=True)
class Options:
    """The arguments of a run."""

    data: Path
    out: Path
    minutes: float = 120.0
    steps: int = 0
    resume: bool = False
    device: str = "cpu"
    threads: int = 2
    workers: int = 0
    seed: int = 0
    rate: float = 1e-3
    batch_tokens: int = 3072
    decay: float = 0.5
    encoder: str = ""


def read_options(arguments: list[str] | None = None) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description="Train the demonstration base model from scratch.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of training data")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=120.0, help="training time, all parts")
    parser.add_argument("--steps", type=int, default=0, help="stop after steps, not minutes")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0, help="processes that make batches")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=1e-3, help="peak learning rate")
    parser.add_argument("--batch-tokens", type=int, default=3072)
    parser.add_argument("--decay", type=float, default=0.5, help="share of the run that decays")
    parser.add_argument("--encoder", default="", help="sentence encoder, to find synonyms with")
    return Options(**vars(parser.parse_args(arguments)))


def prepare(options: Options) -> tuple[Material, Encoder]:
    """Read or restore corpus, tokenizer and synonyms; all are kept in the run's folder."""
    options.out.mkdir(parents=True, exist_ok=True)
    stored = options.out / "corpus.json.gz"
    if not stored.exists():
        read_corpus(options.data).save(stored)
    corpus = Corpus.load(stored).part(held_out=False)
    folder = options.out / "tokenizer"
    if not folder.exists():
        texts = list(corpus.texts())
        texts = random.Random(0).sample(texts, min(len(texts), _TOKENIZER_SENTENCES))
        with_chat_template(train_tokenizer(texts), Shape().context).save_pretrained(folder)
    overlap = Overlap.count(corpus.texts())
    material = Material(corpus, overlap, _synonyms(options, corpus), load_facts())
    return material, Encoder(load_tokenizer(folder).backend_tokenizer, overlap)


def _synonyms(options: Options, corpus: Corpus) -> Synonyms:
    stored = options.out / "synonyms.json"
    if not stored.exists():
        counts = Counter(
            word.lower()
            for text in corpus.texts()
            for word in WORD.findall(text)
            if word.isalpha() and len(word) > 3
        )
        words = [word for word, _ in counts.most_common(_SYNONYM_WORDS)]
        found = nearest_words(words, options.encoder) if options.encoder else {}
        stored.write_text(json.dumps(found), encoding="utf-8")
    loaded: Synonyms = json.loads(stored.read_text(encoding="utf-8"))
    return loaded
