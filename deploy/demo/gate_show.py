"""The gate at work on the demonstration base: it refuses what forgets and what is worse.

    python -m deploy.demo.gate_show [--out FOLDER]

Makes a gated copy of the example domain `support`, trains two adapters badly on purpose (one far
too hard, one on wrong answers), lets the gate decide about each, then about a good one against the
bad one, which somebody forced. Some minutes on two cores; each decision is checked.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.demo.adapter_rows import Row, write_rows
from eval.client import Client
from eval.progress import say
from eval.running import ROOT, end_like_ctrl_c, running_service, wait_ready
from indexer.errors import DslmError

DEMO: Final = Path(__file__).resolve().parent
DOMAIN: Final = "support"
# A loaded machine must not decide: the rules about answers are what is shown.
TABLE: Final = """
[gate]
general_margin = 0.1
latency = 20.0
cost = 20.0
"""
SETS: Final = """
general:
  tasks:
    - name: messages to a clinic, sorted
      kind: label
      rows: sorted.jsonl
      pool: sorted_pool.jsonl
      question: text
      answer: label
      prompt: "Text: {question}\\nLabel:"
      max_tokens: 12
  examples: 4
"""
# Name, rows, steps, learning rate.
FORGETS: Final = ("forgets", "solved", "60", "2e-2")
WRONG: Final = ("wrong", "wrong", "60", "5e-3")


def prepare(folder: Path) -> None:
    """The domain with its gate, and rows to learn the wrong things from."""
    place = folder / "domains" / DOMAIN
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(DEMO / "domains" / DOMAIN, place)
    toml = place / "domain.toml"
    kept = [line for line in toml.read_text("utf-8").splitlines() if "adapter" not in line]
    # Which sentence is chosen is what counts, not how well a small base copies it.
    text = "\n".join(kept).replace('mode = "generate"', 'mode = "verbatim"')
    toml.write_text(text + TABLE, encoding="utf-8")
    (place / "gate.yaml").write_text(SETS, encoding="utf-8")
    clinic = DEMO / "domains" / "clinic"
    shutil.copyfile(clinic / "labels_heldout.jsonl", place / "sorted.jsonl")
    shutil.copyfile(clinic / "labels.jsonl", place / "sorted_pool.jsonl")
    shutil.copyfile(place / "demonstrations.jsonl", folder / "solved.jsonl")
    write_rows(folder / "wrong.jsonl", mistaken(folder / "solved.jsonl"))


def mistaken(solved: Path) -> list[Row]:
    """Every solved example with the answer to another question."""
    rows: list[Row] = [json.loads(line) for line in solved.read_text("utf-8").splitlines()]
    answers = [row["messages"][-1]["content"] for row in rows]
    turned = [*answers[len(answers) // 2 :], *answers[: len(answers) // 2]]
    return [
        {"messages": [row["messages"][0], {"role": "assistant", "content": answer}]}
        for row, answer in zip(rows, turned, strict=True)
    ]


class Show:
    """One run; `url` is the service's."""

    def __init__(self, folder: Path) -> None:
        self.environment = {
            "DSLM_STORE": str(folder / "store"),
            "DSLM_DOMAINS": str(folder / "domains"),
        }
        self.folder = folder
        self.failed = 0

    def dslm(self, *words: str) -> int:
        """The exit code of a command."""
        say(f"$ dslm {' '.join(words)}")
        command = [sys.executable, "-m", "dslm", *words]
        environment = {**os.environ, **self.environment}
        return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode

    def expect(self, code: int, *words: str) -> None:
        """Run a command and note whether it ended as it should."""
        found = self.dslm(*words)
        good = found == code
        self.failed += not good
        say(f"{'as it should' if good else f'NOT AS IT SHOULD, {code} was expected'}: {found}\n")

    def report(self, release: int, against: int) -> list[str]:
        """The rules that a gate report says failed."""
        file = self.folder / "store" / "domains" / DOMAIN / "gate"
        told = json.loads((file / f"{release}-against-{against}.json").read_text("utf-8"))
        return [check["name"] for check in told["checks"] if not check["passed"]]

    def failing(self, rule: str, release: int, against: int) -> None:
        """Note whether the gate's reason is the one that was made."""
        rules = self.report(release, against)
        self.failed += rule not in rules
        say(f"failed: {', '.join(rules)}; {rule} is what was made to fail\n")


def train(show: Show, name: str, rows: str, steps: str, rate: str) -> None:
    options = {"rows": str(show.folder / f"{rows}.jsonl"), "name": name, "steps": steps}
    options |= {"rate": rate, "batch": "8", "rank": "8", "seed": "1"}
    words = [part for key, value in options.items() for part in (f"--{key}", value)]
    show.expect(0, "adapters", "train", DOMAIN, *words)


def decide(show: Show, url: str) -> None:
    """Release 1 is the bare base, 2 forgets, 3 was taught wrong answers, 4 is the base again."""
    gate = ("eval", "gate", "--url", url)
    show.expect(1, *gate, f"{DOMAIN}@2")
    show.failing("general", 2, 1)
    show.expect(7, "release", "activate", DOMAIN, "2")
    show.expect(1, *gate, f"{DOMAIN}@3")
    show.failing("domain", 3, 1)
    show.expect(0, "release", "activate", DOMAIN, "3", "--force", "--why", "to show what follows")
    show.expect(0, *gate, f"{DOMAIN}@4")
    show.expect(0, "release", "activate", DOMAIN, "4")
    show.expect(0, "release", "audit", DOMAIN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if the gate decided as it should each time."""
    end_like_ctrl_c()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("store/gate-show"), help="where all lies")
    folder = parser.parse_args(arguments).out.resolve()
    show = Show(folder)
    try:
        prepare(folder)
        show.expect(0, "index", DOMAIN)
        for told in (FORGETS, WRONG):
            train(show, *told)
        for words in (("--adapter", "forgets@1"), ("--adapter", "wrong@1"), ("--no-adapter",)):
            show.expect(0, "release", "create", DOMAIN, *words)
        with running_service(folder, show.environment) as service:

            async def ready() -> None:
                async with Client(service.url) as client:
                    await wait_ready(client, service.process, service.log)

            asyncio.run(ready())
            decide(show, service.url)
    except DslmError as error:
        say(f"error: {error}")
        return error.exit_code
    say(f"{show.failed} of all that was expected failed")
    return min(show.failed, 1)


if __name__ == "__main__":
    sys.exit(main())
