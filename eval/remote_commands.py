"""`dslm documents` and `dslm jobs`: what a running service holds and does, from a terminal."""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.command_line import examples, group
from indexer.errors import DslmError

if TYPE_CHECKING:
    from eval.remote import Remote

documents_app = group("Documents of a running service's domains: list, add, remove.")
jobs_app = group("Indexing jobs of a running service: start, list, show, cancel.")

Domain = Annotated[str, typer.Argument(help="name of a domain")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="its id")]
Address = Annotated[str, typer.Option("--url", envvar="DSLM_URL", help="the service")]
Key = Annotated[str | None, typer.Option("--key", envvar="DSLM_KEY", help="API key")]
URL = "http://127.0.0.1:8080"


class State(StrEnum):
    """The states of a document, as the command line knows them."""

    pending = "pending"
    indexed = "indexed"
    changed = "changed"
    quarantined = "quarantined"
    deleted = "deleted"


class NotAll(DslmError):
    """Some of several files were refused."""


@documents_app.command(
    "list",
    epilog=examples("documents list support", "documents list support --state quarantined"),
)
def list_documents(
    domain: Domain,
    state: Annotated[State | None, typer.Option(help="only those in this state")] = None,
    url: Address = URL,
    key: Key = None,
) -> None:
    """Print every file with its state, and why something of it was left out."""
    with remote(url, key) as service:
        for card in service.documents(domain, state.value if state else None):
            typer.echo(f"{card['state']:<12}{card['bytes']:>12}  {card['path']}")
            for reason in card["reasons"]:
                typer.echo(f"{'':<26}{reason}")


@documents_app.command(
    "add",
    epilog=examples("documents add support manual.pdf", "documents add support folder --index"),
)
def add_documents(
    domain: Domain,
    files: Annotated[list[Path], typer.Argument(exists=True, help="files, or folders of them")],
    index: Annotated[bool, typer.Option("--index", help="then start a job and follow it")] = False,
    url: Address = URL,
    key: Key = None,
) -> None:
    """Upload files; one of the same name is replaced. They answer after the next job."""
    from eval.remote import files_below

    with remote(url, key) as service:
        refused, taken = [], 0
        for file, name in files_below(files):
            try:
                typer.echo(service.add(domain, file, name)["path"])
                taken += 1
            except DslmError as error:
                if getattr(error, "status", 0) not in {400, 409, 413}:
                    raise
                typer.echo(f"{file}: {error}", err=True)
                refused.append(file)
        if index and taken:
            follow(service, service.start(domain)["id"])
        if refused:
            raise NotAll(
                f"{len(refused)} of {taken + len(refused)} files were refused", "See above"
            )


@documents_app.command("remove", epilog=examples("documents remove support uploads/manual.pdf"))
def remove_documents(
    domain: Domain,
    paths: Annotated[list[str], typer.Argument(metavar="PATH...", help="as `list` prints them")],
    url: Address = URL,
    key: Key = None,
) -> None:
    """Delete uploaded documents; no answer rests on them from now on."""
    with remote(url, key) as service:
        for path in paths:
            service.remove(domain, path)
            typer.echo(f"removed {path}")


@jobs_app.command("start", epilog=examples("jobs start support", "jobs start support --follow"))
def start_job(
    domain: Domain,
    follow_it: Annotated[bool, typer.Option("--follow", help="print its progress")] = False,
    url: Address = URL,
    key: Key = None,
) -> None:
    """Start to index a domain."""
    with remote(url, key) as service:
        job = service.start(domain)
        typer.echo(line(job))
        if follow_it:
            follow(service, job["id"])


@jobs_app.command("list", epilog=examples("jobs list", "jobs list --domain support"))
def list_jobs(
    domain: Annotated[str | None, typer.Option(help="only this domain's")] = None,
    url: Address = URL,
    key: Key = None,
) -> None:
    """Print the last jobs, the newest first."""
    with remote(url, key) as service:
        for job in service.jobs(domain):
            typer.echo(line(job))


@jobs_app.command("show", epilog=examples("jobs show job-0123", "jobs show job-0123 --follow"))
def show_job(
    job: JobId,
    follow_it: Annotated[bool, typer.Option("--follow", help="print its progress")] = False,
    url: Address = URL,
    key: Key = None,
) -> None:
    """Print how far a job is, what came of it and what it left out."""
    with remote(url, key) as service:
        if follow_it:
            follow(service, job)
        else:
            tell(service.job(job))


@jobs_app.command("cancel", epilog=examples("jobs cancel job-0123"))
def cancel_job(job: JobId, url: Address = URL, key: Key = None) -> None:
    """End a job within one batch; what it has done is kept for the next one."""
    with remote(url, key) as service:
        typer.echo(line(service.cancel(job)))


@contextmanager
def remote(url: str, key: str | None) -> "Iterator[Remote]":
    from eval.remote import Remote

    with Remote(url, key) as service:
        yield service


def follow(service: "Remote", job_id: str) -> None:
    """Print each change until the end. Exit code 1 unless the job succeeded."""
    seen = ""
    for _, job in service.events(job_id):
        now = line(job)
        if now != seen:
            typer.echo(now)
        seen = now
    tell(job)
    if job["status"] != "succeeded":
        raise typer.Exit(1)


def line(job: dict[str, Any]) -> str:
    """One job in one line."""
    shown = f"{job['id']}  {job['domain']}  {job['status']}"
    progress = job["progress"]
    if progress and job["ended_at"] is None:
        shown += f"  {progress['phase']} {progress['done']}/{progress['total']}"
        if progress["seconds_left"] is not None:
            shown += f", {progress['seconds_left']:.0f} s left"
    return shown


def tell(job: dict[str, Any]) -> None:
    """All that is to be known of a job."""
    typer.echo(line(job))
    for name, phase in job["phases"].items():
        rate = f", {phase['rate']:g}/s" if phase["rate"] else ""
        typer.echo(f"  {name}: {phase['done']}/{phase['total']} in {phase['seconds']:.1f} s{rate}")
    for key, value in (job["result"] or {}).items():
        if isinstance(value, int | float | str):
            typer.echo(f"  {key}: {value}")
    for left_out in job["quarantined"]:
        typer.echo(f"  left out {left_out['path']}: {left_out['reason']}")
    if job["error"]:
        typer.echo(f"  {job['error']}")
