"""The front door: reads a command line, calls one room and prints what came of it.

Every command imports its room when it runs, so that `--help` needs none of them.
"""

import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from adapters.backup.commands import BACKUPS, MIGRATIONS, RESTORES, backup, migrate, restore
from adapters.command_line import DomainName, Workplace, examples, group
from adapters.commands import adapters_app
from adapters.feedback_commands import feedback_app
from adapters.remote.commands import FOLLOWS, PULLS, PUSHES, follow, pull, push
from adapters.rows.commands import data_app
from adapters.snapshot_commands import snapshot_app
from adapters.traffic_commands import release_app
from adapters.versioning import check_store, open_store
from eval.ask import EXAMPLES as QUESTIONS
from eval.ask import ask
from eval.canary.commands import CANARY_EXAMPLES, MIRROR_EXAMPLES, canary, mirror
from eval.gate.commands import EXAMPLES as GATES
from eval.gate.commands import gate
from eval.harness import EXAMPLES as HARNESSES
from eval.harness import harness
from eval.perplexity_command import EXAMPLES as PERPLEXITIES
from eval.perplexity_command import perplexity
from eval.remote_commands import documents_app, jobs_app
from eval.study.commands import eval_app
from eval.study.grounding_command import EXAMPLES as GROUNDINGS
from eval.study.grounding_command import grounding
from indexer.embedding.small_caches import SMALL_CACHES
from indexer.errors import BadInput, DslmError, NotFound
from indexer.settings import Paths
from service.key_commands import keys_app
from service.plan_commands import EXAMPLES as PLANS
from service.plan_commands import plan

if TYPE_CHECKING:
    from adapters.release import Release
    from service.settings import ServiceSettings


CANCELLED = 130


class Where(StrEnum):
    """The runners of an index job, as the command line knows them."""

    local = "local"
    ray = "ray"


app = group("Domain specialists over one base: adapters, demonstrations and passages together.")
app.add_typer(adapters_app, name="adapters")
app.add_typer(data_app, name="data")
app.add_typer(eval_app, name="eval")
app.add_typer(feedback_app, name="feedback")
app.add_typer(release_app, name="release")
app.add_typer(snapshot_app, name="snapshot")
app.add_typer(documents_app, name="documents")
app.add_typer(jobs_app, name="jobs")
app.add_typer(keys_app, name="keys")
app.command("ask", epilog=examples(*QUESTIONS))(ask)
app.command("backup", epilog=examples(*BACKUPS))(backup)
app.command("restore", epilog=examples(*RESTORES))(restore)
app.command("migrate", epilog=examples(*MIGRATIONS))(migrate)
release_app.command("push", epilog=PUSHES)(push)
release_app.command("pull", epilog=PULLS)(pull)
release_app.command("follow", epilog=FOLLOWS)(follow)
app.command("plan", epilog=examples(*PLANS))(plan)
eval_app.command("canary", epilog=CANARY_EXAMPLES)(canary)
eval_app.command("gate", epilog=examples(*GATES))(gate)
eval_app.command("mirror", epilog=MIRROR_EXAMPLES)(mirror)
eval_app.command("harness", epilog=examples(*HARNESSES))(harness)
eval_app.command("perplexity", epilog=examples(*PERPLEXITIES))(perplexity)
eval_app.command("grounding", epilog=examples(*GROUNDINGS))(grounding)

Question = Annotated[str, typer.Argument(help="in quotation marks")]


def main() -> None:
    """Run a command; an error becomes one line on stderr and its own exit code."""
    try:
        app(prog_name="dslm")
    except DslmError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)


@app.callback()
def front_door(context: typer.Context) -> None:
    """Domain specialists over one base: adapters, demonstrations and passages together."""
    if context.invoked_subcommand != "serve":
        # Threads that spin while they wait made indexing beside a busy engine fifty times slower.
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    if context.invoked_subcommand not in ("serve", "bench"):  # a bench starts vLLM, whose own it is
        os.environ.update({**SMALL_CACHES, **os.environ})
    if context.invoked_subcommand in ("restore", "migrate"):  # what others refuse is theirs to mend
        context.obj = lambda: workplace(read_settings(), check=False)
    else:
        context.obj = lambda: workplace(read_settings())


@app.command(epilog=examples("serve", "serve --port 9000", "serve --base Qwen/Qwen2.5-7B-Instruct"))
def serve(
    base: Annotated[str | None, typer.Option(help="a folder or a hub id; DSLM_BASE")] = None,
    port: Annotated[int | None, typer.Option(help="port to listen on; DSLM_PORT")] = None,
) -> None:
    """Answer over HTTP; first index every domain that has no release yet."""
    from service.server import serve as run

    changes: dict[str, Any] = {"base": base, "port": port}
    settings = read_settings(**{key: value for key, value in changes.items() if value is not None})
    open_store(settings.store)
    raise typer.Exit(run(settings))


@app.command(
    epilog=examples("index support", "index support legal --dry-run", "index law --runner ray")
)
def index(
    domains: Annotated[list[str], typer.Argument(metavar="DOMAIN...", help="names or folders")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object per line")] = False,
    runner: Annotated[Where, typer.Option(help="ray: on the cluster of RAY_ADDRESS")] = Where.local,
    emptied: Annotated[
        bool, typer.Option("--emptied", help="the folders are meant to hold nothing any more")
    ] = False,
) -> None:
    """Index the documents and solved examples of domains, and release the result."""
    from service.indexing import Indexing

    settings = read_settings()
    check_store(settings.store)
    indexing = Indexing(settings, as_json=as_json, runner=runner.value, emptied=emptied)
    work = indexing.plan if dry_run else indexing.run
    code = 0
    for name in domains:
        try:
            work(workplace(settings).domain(name))
        except DslmError as error:  # one domain's trouble must not keep the others from answering
            typer.echo(f"error: {error}", err=True)
            code = error.exit_code
            if code == CANCELLED:
                break
    raise typer.Exit(code)


@app.command(epilog=examples('search support "How often?"', "search x Why --filter '{\"a\": 1}'"))
def search(
    domain: DomainName,
    question: Question,
    only: Annotated[str | None, typer.Option("--filter", help="documents' fields, JSON")] = None,
) -> None:
    """Show what a question finds in the live snapshot, with scores; no engine is needed."""
    place = workplace(read_settings())
    release = live_release(place, domain)

    from eval.finding import show_found

    show_found(place.paths, release, question, only)


@app.command(epilog=examples("tune support", "tune support --write"))
def tune(
    domain: DomainName,
    write: Annotated[bool, typer.Option("--write", help="put it into domain.toml")] = False,
) -> None:
    """Measure ways of retrieval on the domain's own questions and propose what is better."""
    place = workplace(read_settings())
    release = live_release(place, domain)

    from eval.tune import tune as run

    run(place.domain(domain), place.paths, release, write)


@app.command(
    epilog=examples("bench relay", "bench indexing --help"),
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def bench(context: typer.Context) -> None:
    """Measure speed, side by side with peers; `dslm bench --help` lists what."""
    from eval.bench.__main__ import app as benches
    from eval.running import end_like_ctrl_c

    end_like_ctrl_c()
    benches(context.args, prog_name="dslm bench")


@app.command(epilog=examples("doctor"))
def doctor() -> None:
    """Say what this machine has and what to do about what is missing; 1 if serving cannot work."""
    from service.doctor import examine

    failed = False
    for finding in examine(read_settings()):
        typer.echo(finding)
        failed = failed or finding.level == "FAIL"
    raise typer.Exit(int(failed))


def read_settings(**changes: Any) -> "ServiceSettings":
    """From the environment, but for `changes`. BadInput names the variable and its value."""
    from pydantic import ValidationError

    from service.settings import ServiceSettings

    try:
        return ServiceSettings(**changes)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = "DSLM_" + "_".join(str(part) for part in first["loc"]).upper()
        raise BadInput(f"{name} = {first['input']!r} is not allowed", first["msg"]) from error


def workplace(settings: "ServiceSettings", *, check: bool = True) -> Workplace:
    """StoreError for a store that this program must not touch."""
    if check:
        check_store(settings.store)
    base = settings.base
    if settings.engines:
        from service.engines.entries import BASE_NAME, read_entries

        base = read_entries(settings)[BASE_NAME].base or base
    url = f"http://{settings.host}:{settings.port}"
    return Workplace(Paths(settings.store), settings.domains, base, settings.max_lora_rank, url)


def live_release(place: Workplace, domain: str) -> "Release":
    """NotFound if the domain has not been indexed."""
    from adapters.release import ReleaseStore

    name = place.domain(domain).name
    release = ReleaseStore(place.paths).live(name)
    if release is None:
        raise NotFound(f"The domain {name} has no live release", f"Run `dslm index {name}`")
    return release


if __name__ == "__main__":
    main()
