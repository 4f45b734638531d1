"""Build the image's target `cpu` without Docker, and run it as it is to be run.

Each RUN and COPY of the Dockerfile is carried out in a root of its own that debootstrap makes from
Debian's packages; what comes out is started as the image's user with every place but its volumes
read-only. Needs Linux, root, debootstrap and five minutes: `make image`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from deploy.checks.dockerfile import Instruction, Stage, context, expanded, pairs, stages
from deploy.checks.root import Mounts, Root

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120
# As python:3.11-slim-bookworm is: Debian with Python, pip's own certificates and nothing else.
INCLUDED = "ca-certificates,python3,python3-venv,python-is-python3"
USER = "10001"
BEGAN = time.monotonic()


def main() -> int:
    """Exit code 0 if the image builds and runs as described, else 1 with what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=ROOT / ".cache" / "image")
    parser.add_argument("--debootstrap", default="debootstrap")
    parser.add_argument("--again", action="store_true", help="only run what was built before")
    given = parser.parse_args()
    if os.geteuid() or not shutil.which(given.debootstrap):
        print("error: this needs root, and debootstrap (apt install debootstrap)", file=sys.stderr)
        return 1
    try:
        if not given.again:
            build(given.root, given.debootstrap)
        run(Root(given.root / "cpu"))
    except subprocess.CalledProcessError as error:
        print(f"error: the last step ended with {error.returncode}", file=sys.stderr)
        return 1
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("the image builds, and runs as its user with a read-only root")
    return 0


def build(folder: Path, debootstrap: str) -> None:
    """Every stage that the target `cpu` needs, each in a folder of its own below `folder`."""
    found, mounts = stages(ROOT / "Dockerfile"), Mounts.of_this_host()
    folder.mkdir(parents=True, exist_ok=True)
    bootstrap(folder / "base", debootstrap)
    for name, parent in (("cpu-system", "base"), ("cpu-packages", "cpu-system")):
        carry_out(found[name], folder, parent, mounts)
    carry_out(found["cpu"], folder, "cpu-system", mounts)


def bootstrap(base: Path, debootstrap: str) -> None:
    """Debian alone; one that is there is whole, since it gets its name at the end."""
    if base.exists():
        return
    draft = base.with_name("draft")
    shutil.rmtree(draft, ignore_errors=True)
    say("debootstrap")
    command = [debootstrap, "--variant=minbase", f"--include={INCLUDED}", "bookworm", str(draft)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    draft.rename(base)


def carry_out(stage: Stage, folder: Path, parent: str, mounts: Mounts) -> None:
    """The stage's instructions in a copy of its parent's root."""
    shutil.rmtree(folder / stage.name, ignore_errors=True)
    subprocess.run(["cp", "-a", str(folder / parent), str(folder / stage.name)], check=True)
    root = Root(folder / stage.name)
    environment = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin"}
    place = "/"
    for one in stage.instructions:
        if one.word == "WORKDIR":
            place = one.rest
            (root.path / place.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif one.word in ("ENV", "ARG"):
            told = pairs(one.rest).items()
            environment.update({name: expanded(value, environment) for name, value in told})
        elif one.word == "COPY":
            copy(one, folder, root.path / place.lstrip("/"))
        elif one.word == "RUN":
            say(f"{stage.name}: RUN {' '.join(one.rest.split())[:90]}")
            root.shell(one.rest, place, environment, mounts)


def copy(one: Instruction, folder: Path, place: Path) -> None:
    """From another stage, or from the checkout without what .dockerignore leaves out."""
    *sources, target = one.rest.split()
    if "from" in one.options:
        source = folder / one.options["from"] / sources[0].lstrip("/")
        subprocess.run(["cp", "-a", str(source), str(place / target)], check=True)
        return
    wanted = [Path(source) for source in sources]
    for file in context(ROOT):
        for source in wanted:
            if file == source or source in file.parents or source == Path():
                inside = file.name if file == source else str(file.relative_to(source))
                to = place / target / inside
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / file, to)


def run(root: Root) -> None:
    """Index and serve as the image's user, nothing writable but the volumes, then stop it."""
    environment = {"PATH": "/usr/bin:/bin"}
    for one in stages(ROOT / "Dockerfile")["cpu"].of("ENV"):
        told = pairs(one.rest).items()
        environment.update({name: expanded(value, environment) for name, value in told})
    port = free_port()
    # No engine: what is shown is the image, and vLLM would need minutes here.
    environment |= {"DSLM_PORT": str(port), "DSLM_ALLOW_OPEN": "1"}
    environment |= {"DSLM_ENGINE_URLS": "http://127.0.0.1:9"}
    say("dslm index legal, as the user of the image with a read-only root")
    root.as_user(USER, ["dslm", "index", "legal"], environment)
    say("writing anywhere but on the volumes")
    refuse_writes(root, environment)
    say("dslm serve, the health check, and a stop")
    with root.started(USER, ["tini", "--", "dslm", "serve"], environment) as service:
        wait_until_healthy(service, port)
        root.as_user(USER, ["python", "-I", "deploy/setup/healthy.py"], environment)
        service.send_signal(signal.SIGTERM)
        code = service.wait(60)
    if code:
        raise RuntimeError(f"the service ended with {code} when it was told to stop")


def refuse_writes(root: Root, environment: dict[str, str]) -> None:
    """RuntimeError if the user may write where it should not."""
    for place in ("/dslm/dslm.py", "/dslm/new", "/etc/new", "/usr/bin/new", "/home/new"):
        try:
            root.as_user(USER, ["sh", "-c", f"echo >> {place}"], environment, quiet=True)
        except subprocess.CalledProcessError:
            continue
        raise RuntimeError(f"{place} can be written")


def wait_until_healthy(service: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and service.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except (URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise RuntimeError(f"the service was not well within {START_SECONDS} s")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def say(line: str) -> None:
    print(f"[{time.monotonic() - BEGAN:4.0f} s] {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
