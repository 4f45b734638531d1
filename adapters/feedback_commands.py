"""The commands `dslm feedback`: what callers think of answers, and what becomes of it."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from adapters.command_line import DomainName, examples, group, workplace
from indexer.errors import BadInput

if TYPE_CHECKING:
    from adapters.feedback import Feedback, Review

feedback_app = group("What callers think of answers: list it, accept or reject corrections.")


class Wanted(StrEnum):
    """Which opinions are shown."""

    open = "open"
    accepted = "accepted"
    rejected = "rejected"
    all = "all"


@feedback_app.command(
    "list", epilog=examples("feedback list support", "feedback list support --state all --json")
)
def list_feedback(
    context: typer.Context,
    domain: DomainName,
    state: Annotated[Wanted, typer.Option(help="those that nobody has decided about, or")] = (
        Wanted.open
    ),
    as_json: Annotated[bool, typer.Option("--json", help="the lines as they are kept")] = False,
) -> None:
    """Print the opinions on a domain's answers, oldest first, and how many there are of each."""
    from adapters.feedback import FeedbackStore

    place = workplace(context)
    store = FeedbackStore(place.paths, place.domain(domain).name)
    found, reviews = store.list(), store.reviews()
    for one in found:
        review = reviews.get(one.id)
        if state in (Wanted.all, review.state if review else Wanted.open):
            typer.echo(one.model_dump_json() if as_json else _line(one, review))
    counts = [f"{sum(one.rating == kind for one in found)} {kind}" for kind in ("up", "down")]
    corrected = sum(bool(one.corrected) for one in found)
    typer.echo(
        f"{len(found)} opinions: {', '.join(counts)}, {corrected} corrections,"
        f" {len(reviews)} decided",
        err=True,
    )


@feedback_app.command(
    "review",
    epilog=examples(
        "feedback review support 3f9c --accept",
        "feedback review support 3f9c --accept --answer 'Thirty days.'",
        "feedback review support 3f9c --reject --why 'was right'",
    ),
)
def review(
    context: typer.Context,
    domain: DomainName,
    name: Annotated[str, typer.Argument(metavar="ID", help="its id, or how that begins")],
    accept: Annotated[bool, typer.Option("--accept", help="make it a solved example")] = False,
    reject: Annotated[bool, typer.Option("--reject", help="decide against it")] = False,
    answer: Annotated[str, typer.Option(help="the answer to accept, instead of the given")] = "",
    why: Annotated[str, typer.Option(help="for the record")] = "",
) -> None:
    """Accept a correction, which the next `dslm index` makes a demonstration, or reject it.

    What you accept is shown to callers as an example: read it for personal data first.
    """
    from adapters.audit import this_user
    from adapters.feedback import FeedbackStore

    if accept == reject:
        raise BadInput("Say --accept or --reject", "Give one of them")
    place = workplace(context)
    known = place.domain(domain)
    store = FeedbackStore(place.paths, known.name)
    if accept:
        path = store.accept(known, name, this_user(why), answer)
        typer.echo(f"{path} has it now; `dslm index {known.name}` makes it a demonstration")
    else:
        typer.echo(f"{store.reject(name, this_user(why)).id} is rejected")


def _line(one: "Feedback", review: "Review | None") -> str:
    parts = [one.id, f"{one.at:%Y-%m-%d %H:%M}", f"release {one.release}", one.role]
    parts += [one.rating or "-", review.state if review else "open"]
    told = "  ".join(parts)
    for title, text in (("asked", one.question), ("should be", one.corrected), ("", one.comment)):
        if text:
            told += f"\n    {title + ': ' if title else ''}{_plain(text)}"
    return told


def _plain(text: str) -> str:
    """On one line, and without what would steer a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
