"""Trains the demonstration adapters on the shipped base, measures them, and puts them in place.

    python -m deploy.demo.train_adapters [--base FOLDER] [--only NAME ...]

Some minutes on two cores. Run it again whenever the base was replaced: an adapter names the base
it was trained on, and the registry refuses it on another.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from adapters.training.train import Progress, TrainSettings, train_adapter
from deploy.demo import adapter_measure as measure
from deploy.demo.adapter_rows import (
    COLOURS,
    Case,
    CaseMaker,
    Row,
    document_rows,
    label_rows,
    labelled_demonstrations,
    plain_label_rows,
    read_labelled,
    write_rows,
)
from deploy.demo.adapter_shelf import Shelf
from indexer.domain import EmbedderSettings
from indexer.embedding.embedder import Embedder

DEMO = Path(__file__).parent
DOMAINS = DEMO / "domains"
VERSIONS = ("v1", "v2")
SUFFIXES = {"v1": " - Larkfield Support", "v2": " (Larkfield Care, here to help)"}
LABELS = {"v1": {name: name for name in COLOURS}, "v2": COLOURS}
SHOTS = 2
REFUSED = 0.2


@dataclass(frozen=True)
class Run:
    """How one kind of adapter is trained."""

    name: str
    note: str
    steps: int
    batch: int
    learning_rate: float = 1.5e-3
    rank: int = 8


STYLE = Run("support-style", "Answers end in the house's own way", steps=120, batch=8)
TRIAGE = Run("clinic-triage", "Sorts messages into four classes", steps=160, batch=16)


@dataclass(frozen=True)
class Workshop:
    """The base, the example domains, the questions made from them, and a folder for rows."""

    base: Path
    folder: Path
    threads: int
    support: Shelf
    clinic: Shelf

    def write(self, name: str, rows: Iterable[Row]) -> Path:
        """Put rows into a file."""
        path = self.folder / f"{name}.jsonl"
        write_rows(path, rows)
        return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Train what is asked for, then measure all that is there."""
    chosen = _parse(arguments)
    torch.set_num_threads(chosen.threads)
    embedder = Embedder(EmbedderSettings(), device="cpu")
    support, clinic = (Shelf(DOMAINS / name, embedder) for name in ("support", "clinic"))
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(chosen.base, Path(folder), chosen.threads, support, clinic)
        for run, make in ((STYLE, style_rows), (TRIAGE, triage_rows)):
            made = {version: f"{run.name}-{version}" for version in VERSIONS}
            wanted = [v for v in VERSIONS if not chosen.only or made[v] in chosen.only]
            for version, rows in make(shop, wanted):
                train(shop, run, chosen.out / made[version], rows)
        report = measured(shop, chosen.out)
    content = json.dumps(report, indent=2) + "\n"
    (chosen.out / "measures.json").write_text(content, encoding="utf-8")
    sys.stderr.write(content)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m deploy.demo.train_adapters")
    parser.add_argument("--base", type=Path, default=DEMO / "model")
    parser.add_argument("--out", type=Path, default=DEMO / "adapters")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names such as support-style-v1")
    return parser.parse_args(arguments)


def cases(shelf: Shelf, count: int, *, held_out: bool = False) -> list[Case]:
    """Questions about a shelf's documents; the held-out ones come from documents never trained."""
    maker = CaseMaker(shelf, random.Random(11 + held_out))
    return maker.make(count, held_out=held_out, refused=REFUSED, shots=SHOTS)


def style_rows(shop: Workshop, versions: Sequence[str]) -> Iterable[tuple[str, Path]]:
    """Questions to support, answered with each version's suffix."""
    asked = cases(shop.support, 640) if versions else []
    for version in versions:
        rows = document_rows(asked, SUFFIXES[version])
        yield version, shop.write(f"style-{version}", rows)


def triage_rows(shop: Workshop, versions: Sequence[str]) -> Iterable[tuple[str, Path]]:
    """Labelled messages, and questions to the clinic that are answered as ever."""
    asked = cases(shop.clinic, 200) if versions else []
    messages = read_labelled(DOMAINS / "clinic" / "labels.jsonl")
    messages += labelled_demonstrations(shop.clinic)
    for version in versions:
        rows = list(document_rows(asked))
        labelled = label_rows(messages, shop.clinic, random.Random(13), LABELS[version], rounds=12)
        yield version, shop.write(f"triage-{version}", [*rows, *labelled])


def train(shop: Workshop, run: Run, out: Path, rows: Path) -> None:
    """Train one adapter over what stands in its place."""

    def tell(progress: Progress) -> None:
        if progress.step % 20 == 0:
            line = f"{out.name} step {progress.step}/{progress.steps} loss {progress.loss:.3f}"
            sys.stderr.write(f"{line}, {progress.seconds_left:.0f} s left\n")

    fresh = shop.folder / out.name
    settings = TrainSettings(
        base=str(shop.base),
        rows=rows,
        out=fresh,
        name=run.name,
        note=run.note,
        rank=run.rank,
        alpha=2 * run.rank,
        steps=run.steps,
        batch=run.batch,
        learning_rate=run.learning_rate,
        threads=shop.threads,
        device="cpu",
    )
    train_adapter(settings, tell)
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(fresh, out)


def measured(shop: Workshop, out: Path) -> dict[str, Any]:
    """Every shipped adapter beside its base, on documents and messages it was not trained on."""
    names = [f"{run.name}-{version}" for run in (STYLE, TRIAGE) for version in VERSIONS]
    present = [out / name for name in names if (out / name).is_dir()]
    bench = measure.Bench(shop.base, present)
    report: dict[str, Any] = {}
    for version in VERSIONS:
        style, triage = (f"{run.name}-{version}" for run in (STYLE, TRIAGE))
        if out / style in present:
            report[style] = _measured_style(shop, bench, style, SUFFIXES[version])
        if out / triage in present:
            report[triage] = {
                **_measured_documents(shop, bench, triage, shop.clinic, ""),
                **_measured_labels(shop, bench, triage, version),
            }
    return report


def _measured_style(
    shop: Workshop, bench: measure.Bench, name: str, suffix: str
) -> dict[str, float]:
    return _measured_documents(shop, bench, name, shop.support, suffix)


def _measured_documents(
    shop: Workshop, bench: measure.Bench, name: str, shelf: Shelf, suffix: str
) -> dict[str, float]:
    """Selection, refusals and suffix on questions about held-out documents."""
    asked = cases(shelf, 80, held_out=True)
    rows = shop.write("held-out", document_rows(asked, suffix))
    base, own = bench.answer(rows, None), bench.answer(rows, name)
    with_answer = measure.answered(own)
    return {
        "questions": len(own),
        "right_sentence_or_refusal": measure.share(own, measure.right_source),
        "right_sentence_or_refusal_base": measure.share(base, measure.right_source),
        "same_choice_as_base": measure.same_source(base, own),
        "ends_in_suffix": measure.share(with_answer, lambda said, _: said.endswith(suffix)),
    }


def _measured_labels(
    shop: Workshop, bench: measure.Bench, name: str, version: str
) -> dict[str, float]:
    """Label accuracy with no and with four retrieved examples."""
    messages = read_labelled(DOMAINS / "clinic" / "labels_heldout.jsonl")
    scores: dict[str, float] = {"messages": len(messages)}
    for shots in (0, 4):
        rows = shop.write("labels", plain_label_rows(messages, shop.clinic, LABELS[version], shots))
        for who, adapter in (("", name), ("_base", None)):
            answers = bench.answer(rows, adapter)
            scores[f"label_{shots}_shots{who}"] = measure.share(answers, measure.right_label)
    return scores


if __name__ == "__main__":
    main()
