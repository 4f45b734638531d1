"""The commands `dslm backup`, `dslm restore` and `dslm migrate`: read a line, call, print."""

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from adapters.command_line import workplace
from indexer.errors import BadInput, StoreError

BACKUPS = ("backup /backups", "backup store-2026-11-21.tar", "backup /backups --dry-run")
RESTORES = ("restore store-2026-11-21.tar", "restore store-2026-11-21.tar --replace", "restore")
MIGRATIONS = ("migrate", "migrate --dry-run")


def backup(
    context: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="FILE|FOLDER", help="a new file, or where")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say how large")] = False,
) -> None:
    """Write the whole store to one file while everything goes on; its digests are checked.

    Exit code 3 if files of the store were found damaged; they are named, and kept as they are.
    """
    from adapters.backup.contents import gathered, size
    from adapters.backup.writing import back_up, target_of

    paths = workplace(context).paths
    file = target_of(to, datetime.now(UTC))
    with gathered(paths) as contents:
        wanted = size(paths, contents)
    if dry_run:
        typer.echo(f"{file}  would take {wanted / 1e6:.1f} MB")
        return
    with bar("backup", wanted) as tell:
        record = back_up(paths, file, tell)
    typer.echo(f"{file}  {len(record.files)} files, {file.stat().st_size / 1e6:.1f} MB")
    for name in record.damaged:
        typer.echo(f"damaged in the store: {name}", err=True)
    raise typer.Exit(StoreError.exit_code if record.damaged else 0)


def restore(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(help="what `dslm backup` wrote; none: end one that was cut")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="put the store that is there aside")
    ] = False,
) -> None:
    """Put a backup into an empty store, once all of it has been checked.

    After a kill it either has not begun, or a second `dslm restore` ends it.
    """
    from adapters.backup.restoring import finish, unfinished
    from adapters.backup.restoring import restore as run

    paths = workplace(context).paths
    if unfinished(paths):
        plan = finish(paths)
        typer.echo(f"{paths.root}  the restore that was cut short has ended")
        told_aside(paths.root / plan.aside)
        return
    if file is None:
        raise BadInput("No restore was cut short here", "Give a file that `dslm backup` wrote")
    size = file.stat().st_size if file.is_file() else 0
    with bar("restore", size) as tell:
        record = run(paths, file, tell, replace=replace)
    typer.echo(f"{paths.root}  {len(record.files)} files of {record.made:%Y-%m-%d %H:%M}")
    for folder in sorted(paths.root.glob(".replaced-*"))[-1:] if replace else ():
        told_aside(folder)


def migrate(
    context: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what is to do")] = False,
) -> None:
    """Bring a store that an older program wrote to this one's form; make a backup first."""
    from adapters.versioning import FORMAT, stored_format
    from adapters.versioning import migrate as run

    root = workplace(context).paths.root
    before, after = (stored_format(root), FORMAT) if dry_run else run(root)
    state = "nothing to do" if before == after else f"form {before} -> {after}"
    typer.echo(f"{root}  {state}")


def told_aside(folder: Path) -> None:
    if folder.is_dir():
        typer.echo(f"the store that was there lies in {folder}; remove it when you are content")


@contextlib.contextmanager
def bar(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal, nothing elsewhere."""
    import sys

    with typer.progressbar(
        length=max(1, length), label=label, file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as shown:
        yield shown.update
