"""Train the demonstration base model from scratch.

Owns the run: arguments, schedule, checkpoints. Continues a stopped run with ``--resume``.
"""

import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from deploy.demo.base.encoding import Batch, Encoder
from deploy.demo.base.feed import Feed
from deploy.demo.base.losses import Helpers, outcome
from deploy.demo.base.makers import Material
from deploy.demo.base.network import Network, Shape
from deploy.demo.base.prepare import Options, prepare, read_options
from deploy.demo.base.start import structure

REPORT_SECONDS, SAVE_SECONDS = 20, 180


class Run:
    """The state of a training run, which a checkpoint holds completely."""

    def __init__(
        self, options: Options, material: Material, encoder: Encoder, shape: Shape
    ) -> None:
        torch.manual_seed(options.seed)
        self.options, self.encoder = options, encoder
        self.feed = Feed(material, encoder, options.seed + 1, options.batch_tokens)
        self.network = Network(shape)
        if shape == Shape():
            structure(self.network, encoder.tokenizer)
        self.helpers = Helpers(shape.width)
        self.network.to(options.device)
        self.helpers.to(options.device)
        parameters = [*self.network.parameters(), *self.helpers.parameters()]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=options.rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True
        )
        self.step = self.tokens = self.pool = self.within = 0
        self.elapsed = 0.0

    def progress(self) -> float:
        """How much of the run is done, 0 to 1."""
        if self.options.steps:
            return self.step / self.options.steps
        return self.elapsed / (60 * self.options.minutes)

    def rate(self) -> float:
        """The learning rate: a short warm-up, a plateau, a linear decay."""
        left = (1 - self.progress()) / self.options.decay
        return self.options.rate * min(1.0, (self.step + 1) / 40) * max(0.02, min(1.0, left))

    def batches(self) -> Iterator[Batch]:
        """Batches from the current position on."""
        loader = DataLoader(
            self.feed,
            batch_size=None,
            sampler=range(self.pool, len(self.feed)),
            num_workers=self.options.workers,
            # Its own generator: the global one's state belongs to the checkpoint.
            generator=torch.Generator(),
        )
        for batches in loader:
            for batch in batches[self.within :]:
                self.within += 1
                yield batch
            self.pool, self.within = self.pool + 1, 0

    def train_on(self, batch: Batch) -> dict[str, float]:
        """One optimiser step."""
        moved = Batch(*(getattr(batch, f.name).to(self.options.device) for f in _FIELDS))
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        result = outcome(self.network, self.helpers, moved, self.encoder.refusal, torch.bfloat16)
        torch.autograd.backward(result.loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        self.tokens += int((batch.tokens != 0).sum())
        return result.report

    def state(self) -> dict[str, Any]:
        """Everything needed to continue."""
        return {
            "shape": self.network.shape.as_dict(),
            "network": self.network.state_dict(),
            "helpers": self.helpers.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": torch.get_rng_state(),
            "counters": [self.step, self.tokens, self.pool, self.within, self.elapsed],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.network.load_state_dict(state["network"])
        self.helpers.load_state_dict(state["helpers"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])
        self.step, self.tokens, self.pool, self.within, self.elapsed = state["counters"]

    def save(self) -> None:
        """Write a checkpoint; a stop in the middle leaves the former one whole."""
        target = self.options.out / "checkpoint.pt"
        torch.save(self.state(), target.with_suffix(".new"))
        os.replace(target.with_suffix(".new"), target)


def show(figures: Mapping[str, float]) -> None:
    """Print figures as one JSON line, at once."""
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


_FIELDS = dataclasses.fields(Batch)


def _report(run: Run, gathered: dict[str, list[float]], speed: float) -> None:
    means = {name: round(sum(v) / len(v), 4) for name, v in sorted(gathered.items())}
    head = {
        "minutes": round(run.elapsed / 60, 2),
        "step": run.step,
        "million_tokens": round(run.tokens / 1e6, 3),
        "tokens_per_second": round(speed),
        "rate": round(run.rate(), 6),
    }
    show(head | means)


def train(run: Run, stop: threading.Event) -> None:
    """Train to the end of the schedule or until told to stop, reporting and saving on the way."""
    gathered: defaultdict[str, list[float]] = defaultdict(list)
    clock = reported = saved = time.monotonic()
    tokens = run.tokens
    for batch in run.batches():
        if run.progress() >= 1 or stop.is_set():
            break
        for name, value in run.train_on(batch).items():
            gathered[name].append(value)
        now = time.monotonic()
        run.elapsed, clock = run.elapsed + now - clock, now
        if now - reported > REPORT_SECONDS:
            _report(run, gathered, (run.tokens - tokens) / (now - reported))
            gathered.clear()
            reported, tokens = now, run.tokens
        if now - saved > SAVE_SECONDS:
            run.save()
            saved = now
    run.save()


def main(arguments: list[str] | None = None) -> None:
    """Run or continue a training."""
    options = read_options(arguments)
    torch.set_num_threads(options.threads)
    material, encoder = prepare(options)
    run = Run(options, material, encoder, Shape())
    checkpoint = options.out / "checkpoint.pt"
    if options.resume and checkpoint.exists():
        run.restore(torch.load(checkpoint, map_location=options.device, weights_only=True))
    parameters = sum(weight.numel() for weight in run.network.parameters())
    show({"parameters": parameters, "from_step": run.step})
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    train(run, stop)


if __name__ == "__main__":
    main()
