"""The command line as a person uses it: every run is a process of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

DEMO = Path(__file__).resolve().parent.parent / "deploy" / "demo"
HEAVY = {"torch", "faiss", "transformers", "sentence_transformers", "peft", "fastapi", "pydantic"}
KETTLE = "# The kettle\n\nThe kettle holds 1.7 litres. It boils in four minutes.\n"
SOLVED = [("How big is the pot?", "It holds two litres."), ("Is it loud?", "No, it is not.")]


@dataclass(frozen=True)
class Home:
    """A folder with domains and a store, and the command line that works on it."""

    root: Path

    @property
    def domains(self) -> Path:
        return self.root / "domains"

    @property
    def store(self) -> Path:
        return self.root / "store"

    def write_domain(self, name: str, toml: str = 'title = "T"\n') -> Path:
        folder = self.domains / name
        (folder / "documents").mkdir(parents=True)
        (folder / "documents" / "kettle.md").write_text(KETTLE, encoding="utf-8")
        (folder / "domain.toml").write_text(toml, encoding="utf-8")
        rows = [
            {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
            for q, a in SOLVED
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "demonstrations.jsonl").write_text(lines, encoding="utf-8")
        return folder

    def environment(self, **settings: str) -> dict[str, str]:
        ours = {"DSLM_STORE": str(self.store), "DSLM_DOMAINS": str(self.domains)}
        return {**os.environ, **ours, **settings}

    def start(self, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "dslm", *arguments],
            env=self.environment(**settings),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "dslm", *arguments],
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path)
    made.write_domain("kitchen")
    return made


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home whose domain `kitchen` has release 1; tests that change it make their own."""
    made = Home(tmp_path_factory.mktemp("home"))
    made.write_domain("kitchen")
    done = made.run("index", "kitchen")
    assert done.returncode == 0, done.stderr
    assert "kitchen: release 1 is live" in done.stdout
    return made


def test_help_needs_no_heavy_import() -> None:
    script = "import sys, dslm; print(*sorted(n for n in sys.modules if '.' not in n))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stdout.split()) == set()


def test_a_setting_of_the_wrong_type_is_named_and_help_works_all_the_same(home: Home) -> None:
    done = home.run("release", "list", "kitchen", DSLM_PORT="eighty")
    assert (done.returncode, done.stdout) == (2, "")
    assert "DSLM_PORT = 'eighty' is not allowed" in done.stderr
    assert home.run("release", "list", "--help", DSLM_PORT="eighty").returncode == 0


def test_an_unknown_domain_is_one_line_that_names_the_known_ones(home: Home) -> None:
    done = home.run("index", "cellar")
    assert done.returncode == 4
    assert done.stderr.splitlines() == [
        f"error: There is no domain cellar in {home.domains}. Domains there: kitchen"
    ]


def test_a_broken_toml_names_the_key_and_leaves_no_store(home: Home) -> None:
    home.write_domain("garden", "tilte = 'Garden'\n")
    done = home.run("index", "garden")
    assert done.returncode == 2
    assert "unknown key `tilte`" in done.stderr
    assert not home.store.exists()


def test_an_unknown_adapter_is_told_before_any_work(home: Home) -> None:
    home.write_domain("garden", 'adapter = "nobody@1"\n')
    done = home.run("index", "garden")
    assert done.returncode == 4
    assert "There is no adapter nobody@1" in done.stderr
    assert not (home.store / "domains").exists()


def test_an_unknown_version_of_a_shipped_adapter_is_not_taken_for_another_bases(
    home: Home,
) -> None:
    home.write_domain("garden", 'adapter = "support-style@99"\n')
    done = home.run("index", "garden")
    assert done.returncode == 4
    assert "support-style" in done.stderr
    assert "99" in done.stderr


def test_a_dry_run_tells_the_plan_and_writes_nothing(home: Home) -> None:
    done = home.run("index", "kitchen", "--dry-run")
    assert done.returncode == 0
    assert "kitchen: new kettle.md\nkitchen: 1 new, 0 changed" in done.stdout
    assert not home.store.exists()


def test_one_domain_in_trouble_does_not_keep_the_others_from_being_indexed(home: Home) -> None:
    done = home.run("index", "cellar", "kitchen", "--json")
    assert done.returncode == 4
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {event["event"] for event in events[:-1]} == {"progress"}
    assert events[-1]["event"] == "result"
    assert (events[-1]["domain"], events[-1]["release"], events[-1]["live"]) == ("kitchen", 1, True)


def test_an_index_that_must_wait_is_not_live_until_it_is_activated(home: Home) -> None:
    home.write_domain("garden", 'publish = "wait"\n')
    assert (
        "release 1 waits for `dslm release activate garden 1`" in home.run("index", "garden").stdout
    )
    assert home.run("search", "garden", "kettle").returncode == 4
    assert home.run("release", "activate", "garden", "1").returncode == 0
    assert home.run("release", "list", "garden").stdout.startswith("* 1 ")


def test_indexing_again_without_a_change_makes_no_release(indexed: Home) -> None:
    done = indexed.run("index", "kitchen")
    assert "kitchen: release 1 stays live, nothing has changed" in done.stdout
    assert len(indexed.run("release", "list", "kitchen").stdout.splitlines()) == 1


def test_search_shows_each_passage_with_its_score_and_place(indexed: Home) -> None:
    lines = indexed.run("search", "kitchen", "How much does the kettle hold?").stdout.splitlines()
    score, document, *_ = lines[1].split()
    assert 0.2 < float(score) <= 1.0
    assert document == "kettle.md"
    assert "holds 1.7 litres" in lines[2]
    assert any("How big is the pot?" in line for line in lines)


def test_releases_are_activated_and_rolled_back(home: Home) -> None:
    assert home.run("index", "kitchen").returncode == 0
    toml = home.domains / "kitchen" / "domain.toml"
    toml.write_text("[retrieval]\npassages = 2\n", encoding="utf-8")
    assert "kitchen: release 2 is live" in home.run("index", "kitchen").stdout
    shown = json.loads(home.run("release", "show", "kitchen", "2").stdout)
    assert (shown["parent"], shown["retrieval"]["passages"]) == (1, 2)
    assert home.run("release", "rollback", "kitchen").stdout == "kitchen answers with release 1\n"
    assert home.run("release", "activate", "kitchen", "2").returncode == 0
    missing = home.run("release", "activate", "kitchen", "9")
    assert (missing.returncode, missing.stdout) == (4, "")
    assert "kitchen has no release 9. Its releases: 1 to 2" in missing.stderr


def test_with_another_base_a_domain_answers_without_its_shipped_adapter(home: Home) -> None:
    other = home.root / "base"
    shutil.copytree(DEMO / "model", other)
    with (other / "chat_template.jinja").open("a", encoding="utf-8") as template:
        template.write("{# another #}")
    home.write_domain("garden", 'adapter = "support-style@1"\n')
    done = home.run("index", "garden", DSLM_BASE=str(other))
    assert done.returncode == 0, done.stderr
    assert "garden: answers without support-style@1, which is for another base" in done.stdout
    assert "no adapter" in home.run("release", "list", "garden").stdout


def test_a_shipped_adapter_can_be_added_and_is_the_same_when_added_again(home: Home) -> None:
    folder = str(DEMO / "adapters" / "support-style-v1")
    done = home.run("adapters", "add", folder)
    assert done.stdout.startswith("support-style@1 "), done.stderr
    assert home.run("adapters", "add", folder).stdout == done.stdout
    assert len(home.run("adapters", "list").stdout.splitlines()) == 1


def test_what_is_no_adapter_is_refused_and_not_stored(home: Home) -> None:
    done = home.run("adapters", "add", str(home.domains), "--name", "odd")
    assert done.returncode == 2
    assert str(home.domains) in done.stderr
    assert home.run("adapters", "list").stdout == ""


@pytest.mark.slow
def test_an_adapter_is_trained_stored_and_shown(home: Home) -> None:
    rows = home.domains / "kitchen" / "demonstrations.jsonl"
    options = ("--rows", str(rows), "--name", "brief", "--steps", "3", "--rank", "8")
    done = home.run("adapters", "train", "kitchen", *options)
    assert done.returncode == 0, done.stderr
    label, digest = done.stdout.split()
    assert label == "brief@1"
    assert home.run("adapters", "list").stdout.startswith(f"brief@1  {digest}  rank 8  sentences")
    shown = json.loads(home.run("adapters", "show", "brief").stdout)
    assert (shown["name"], shown["version"], shown["rank"]) == ("brief", 1, 8)


def test_doctor_passes_here_and_names_what_is_in_the_way(home: Home) -> None:
    done = home.run("doctor", DSLM_PORT="0")
    assert done.returncode == 0, done.stdout
    assert "warn  domain   kitchen has no release. Run dslm index kitchen" in done.stdout
    done = home.run("doctor", DSLM_PORT="0", DSLM_BASE="/nowhere/base")
    assert done.returncode == 1
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1
    assert "/nowhere/base" in failed[0]


@contextmanager
def answering(events: list[dict[str, Any]], *, hang: bool = False) -> Iterator[str]:
    """A service that streams these events to every question; `hang`: it never ends the stream."""
    ended = threading.Event()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()
            for event in events:
                self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
                self.wfile.flush()
            if hang:
                ended.wait(30)
            else:
                self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()


def piece(text: str, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"object": "chat.completion.chunk", "choices": [choice], **more}


def last_piece() -> dict[str, Any]:
    cited = {"document": "kettle.md", "chunk": "c", "start": 12, "end": 39, "quote": "It holds."}
    about = {"domain": "kitchen", "release": 3, "snapshot": "abc", "adapter": None, "mode": "quote"}
    event = piece("", dslm=about)
    event["choices"][0]["delta"] = {"annotations": [{"type": "url_citation", **cited}]}
    event["choices"][0]["finish_reason"] = "stop"
    return event


def test_ask_prints_the_answer_and_then_its_sources(home: Home) -> None:
    with answering([piece("[1] It "), piece("holds."), last_piece()]) as url:
        done = home.run("ask", "kitchen", "How much?", "--url", url)
    assert done.stdout.splitlines() == [
        "[1] It holds.",
        '  kettle.md [12, 39): "It holds."',
        "  kitchen release 3, no adapter, quote, snapshot abc",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stream_that_breaks_is_an_error_and_not_an_answer(home: Home) -> None:
    with answering([piece("[1] It "), {"error": {"message": "The engine failed"}}]) as url:
        done = home.run("ask", "kitchen", "How much?", "--url", url)
    assert done.returncode == 6
    assert "The engine failed" in done.stderr


def test_asking_where_nothing_listens_says_how_to_start_it(home: Home) -> None:
    done = home.run("ask", "kitchen", "How much?", "--url", "http://127.0.0.1:9")
    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1
    assert "Start one with `make serve`" in done.stderr


def test_ctrl_c_ends_a_command_with_130_and_no_traceback(home: Home) -> None:
    with answering([piece("[1] It\n")], hang=True) as url:
        child = home.start("ask", "kitchen", "How much?", "--url", url, PYTHONUNBUFFERED="1")
        assert child.stdout is not None
        assert child.stdout.readline() == "[1] It\n"
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=30)
    assert child.returncode == 130
    assert said == ""


def test_a_reader_that_has_seen_enough_ends_a_command_quietly(home: Home) -> None:
    pieces = [piece("one\n")] + [piece("and more\n" * 1000) for _ in range(20)]
    with answering([*pieces, last_piece()]) as url:
        child = home.start("ask", "kitchen", "How much?", "--url", url, PYTHONUNBUFFERED="1")
        assert child.stdout is not None
        assert child.stderr is not None
        assert child.stdout.readline() == "one\n"
        child.stdout.close()
        assert child.wait(30) != 0
        with child.stderr as errors:
            assert errors.read() == ""
