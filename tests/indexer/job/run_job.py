"""Runs an index job in a process of its own, for tests that kill it or fill its disk.

Arguments: the domain's folder, the store, and options: `--lockstep` waits after each progress line
for a line on stdin, so that whoever reads them decides where it stops; `--largest N` is the
largest file in bytes that may be written.
"""

import argparse
import json
import resource
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from indexer.domain import load_domain
from indexer.errors import DslmError
from indexer.job.run import IndexJob, Progress
from indexer.settings import Paths
from service.indexing import stopping
from tests.indexer.hash_embedder import HashEmbedder


def main() -> int:
    options = _options()
    if options.largest:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.largest, resource.RLIM_INFINITY))
    domain, paths = load_domain(options.folder), Paths(options.store)
    with stopping() as stopped:
        job = IndexJob(domain, paths, _report(options.lockstep), HashEmbedder(), stopped=stopped)
        try:
            result = job.run()
        except DslmError as error:
            sys.stderr.write(f"{type(error).__name__}: {error}")
            return error.exit_code
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    _say({"snapshot": result.snapshot, "embedded": result.embedded, "memory": memory})
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("store", type=Path)
    parser.add_argument("--lockstep", action="store_true")
    parser.add_argument("--largest", type=int, default=0)
    return parser.parse_args()


def _report(lockstep: bool) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        _say(asdict(progress))
        if lockstep:
            sys.stdin.readline()

    return report


def _say(event: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
