"""What the commands of every room have in common: where they work, and how they speak.

The front door tells them which store, domains and base they work on; settings are not theirs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from indexer.errors import NotFound
from indexer.settings import Paths

if TYPE_CHECKING:
    from adapters.release import ReleaseStore
    from indexer.domain import Domain

DomainName = Annotated[str, typer.Argument(help="a name in DSLM_DOMAINS, or a path to a folder")]


@dataclass(frozen=True, slots=True)
class Workplace:
    """What the commands work on: a store, domains, a base, the engine's limit, the service."""

    paths: Paths
    domains: Path
    base: str
    max_rank: int
    url: str = "http://127.0.0.1:8080"

    def domain(self, name: str) -> "Domain":
        """By name, or by a path to its folder; a broken neighbour does not stand in the way."""
        from indexer.domain import FILE_NAME, load_domain, load_domains

        for folder in (self.domains / name, Path(name)):
            if (folder / FILE_NAME).is_file():
                found = load_domain(folder)
                if found.name == name or folder == Path(name):
                    return found
        known = load_domains(self.domains)
        if name not in known:
            raise NotFound(
                f"There is no domain {name} in {self.domains}",
                f"Domains there: {', '.join(known) or 'none'}",
            )
        return known[name]


def examples(*lines: str) -> str:
    """The end of a command's help; the mark keeps the lines apart."""
    return "\b\nExamples:\n" + "\n".join(f"  dslm {line}" for line in lines)


def group(help_text: str) -> typer.Typer:
    """A group of commands that speaks plainly: no boxes, no tracebacks with local values."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def workplace(context: typer.Context) -> Workplace:
    """Opened when a command runs, so that no setting can spoil a `--help`."""
    return cast(Callable[[], Workplace], context.obj)()


def releases(context: typer.Context, domain: str) -> "tuple[ReleaseStore, str]":
    """The store and the domain's name; NotFound if there is no such domain."""
    from adapters.release import ReleaseStore

    place = workplace(context)
    return ReleaseStore(place.paths), place.domain(domain).name
