"""Runs an index job in a process of its own, for tests that kill it or fill its disk.

Arguments: the domain's folder, the store, the step at which to be killed (0: never; a step is a
report or whatever is about to be done to a path in the store), and the largest file in bytes that
may be written (0: any).
"""

import os
import resource
import signal
import sys
from pathlib import Path

from indexer.domain import load_domain
from indexer.errors import DslmError
from indexer.job.run import IndexJob
from indexer.settings import Paths
from tests.indexer.hash_embedder import HashEmbedder

_TOUCHES = ("open", "os.mkdir", "os.rename", "os.remove", "shutil.rmtree", "sqlite3.connect")


def main() -> int:
    folder, store, last_step, largest_file = sys.argv[1:]
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1
        if steps == int(last_step):
            os.kill(os.getpid(), signal.SIGKILL)

    def touch(event: str, values: tuple[object, ...]) -> None:
        if event in _TOUCHES and str(values[0]).startswith(store):
            step()

    sys.addaudithook(touch)
    if int(largest_file):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(largest_file), resource.RLIM_INFINITY))
    job = IndexJob(load_domain(Path(folder)), Paths(Path(store)), lambda _: step(), HashEmbedder())
    try:
        sys.stdout.write(job.run().snapshot)
    except DslmError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
