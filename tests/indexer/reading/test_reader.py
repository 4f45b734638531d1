"""Files are read in order by other processes; what ends one costs its own file at most."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from indexer.domain import Domain, load_domain
from indexer.errors import BadInput
from indexer.reading.child import Child, Job
from indexer.reading.opening import read_source
from indexer.reading.reader import ReaderPool, Reading, reader_identity
from indexer.reading.rules import rules_of
from indexer.reading.sources import read_documents, scan
from indexer.reading.walk import SourceFile
from indexer.reading.wire import packed, reading_message, to_reading
from indexer.records import Document
from tests.indexer.reading.files import docx, pdf

_SLOW = "# Slow\n\n" + "*A* [word](x) of `many`, **and** more.\n\n" * 4_000


def _limits(folder: Path, text: str) -> Domain:
    (folder / "domain.toml").write_text(f"[documents.limits]\n{text}\n", encoding="utf-8")
    return load_domain(folder)


def _files(domain: Domain) -> list[SourceFile]:
    return [found for found in scan(domain) if isinstance(found, SourceFile)]


def _read(domain: Domain, processes: int = 1) -> dict[str, Reading]:
    with ReaderPool(domain, processes) as pool:
        return {reading.source.path: reading for reading in pool.read(_files(domain))}


def _children() -> list[psutil.Process]:
    """The processes that read for this one."""
    return [one for one in psutil.Process().children() if _reads(one)]


def _reads(process: psutil.Process) -> bool:
    try:
        return "indexer.reading.worker" in process.cmdline()
    except psutil.Error:
        return False


def _write(folder: Path, name: str, content: bytes) -> None:
    (folder / "documents" / name).write_bytes(content)


def test_readings_come_in_the_order_of_the_files_and_equal_those_of_one_process(
    folder: Path,
) -> None:
    for number in range(40):
        text = f"# Tea {number}\n\n" + f"Hot {number}.\n\n" * (1 + number * 37 % 400)
        _write(folder, f"{number}.md", text.encode())
    _write(folder, "a.docx", docx())
    _write(folder, "a.pdf", pdf([[(12, 72, 700, "It boils.")]]))
    domain = load_domain(folder)
    files = _files(domain)
    with ReaderPool(domain, 2) as pool:
        readings = list(pool.read(files))
        again = list(pool.read(files[:3]))
    assert [reading.source for reading in readings] == files
    assert again == readings[:3]
    here = [found for found in read_documents(domain) if isinstance(found, Document)]
    assert [document for reading in readings for document in reading.documents] == here
    assert all(len(reading.sha256) == 64 for reading in readings)
    assert not _children()


def test_a_pool_that_reads_nothing_starts_nothing(domain: Domain) -> None:
    with ReaderPool(domain) as pool:
        assert list(pool.read([])) == []
        assert not _children()


def test_a_file_that_takes_too_long_is_left_out_and_the_others_are_read(folder: Path) -> None:
    _write(folder, "endless.md", (_SLOW * 16).encode())
    found = _read(_limits(folder, "seconds = 1"))
    assert found["endless.md"].rejected[0].reason == "takes longer than 1 s to read"
    assert len(found["endless.md"].sha256) == 64
    assert all(found[path].documents for path in found if path != "endless.md")


def test_a_file_that_needs_too_much_memory_is_left_out_and_the_others_are_read(
    folder: Path,
) -> None:
    _write(folder, "fat.json", b"[" + b'{"a": [1, 2, 3]},' * 900_000 + b"1]")
    found = _read(_limits(folder, "memory_mb = 64"))
    assert found["fat.json"].rejected[0].reason == "needs more than 64 MiB of memory"
    assert all(found[path].documents for path in found if path != "fat.json")


def _kill_readers(kind: signal.Signals, times: int, busy: threading.Event) -> None:
    """End the next `times` processes that have worked for a while."""
    killed: set[int] = set()
    while len(killed) < times and not busy.is_set():
        for child in _children():
            try:
                if child.pid not in killed and sum(child.cpu_times()[:2]) > 0.6:
                    child.send_signal(kind)
                    killed.add(child.pid)
            except psutil.Error:
                continue
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("kind", "times", "reason"),
    [
        (signal.SIGKILL, 1, ""),
        (signal.SIGKILL, 2, "ended the process that read it (SIGKILL)"),
        (signal.SIGSEGV, 2, "ended the process that read it (SIGSEGV)"),
    ],
)
def test_a_file_whose_reading_ends_two_processes_is_left_out(
    folder: Path, kind: signal.Signals, times: int, reason: str
) -> None:
    _write(folder, "crash.md", _SLOW.encode())
    done = threading.Event()
    killer = threading.Thread(target=_kill_readers, args=(kind, times, done))
    killer.start()
    try:
        found = _read(load_domain(folder))
    finally:
        done.set()
        killer.join()
    assert [one.reason for one in found["crash.md"].rejected] == ([reason] if reason else [])
    assert all(found[path].documents for path in found if path != "crash.md")


def test_readings_that_nobody_waits_for_are_given_up(folder: Path) -> None:
    _write(folder, "b.md", _SLOW.encode())
    domain = load_domain(folder)
    with ReaderPool(domain, 1) as pool:
        first = next(iter(pool.read(_files(domain))))
        assert first.source.path == "b.md"
        readings = pool.read(_files(domain)[1:])
        assert [one.source.path for one in readings] == [f.path for f in _files(domain)[1:]]


def test_no_process_outlives_the_one_that_started_it(folder: Path) -> None:
    _write(folder, "slow.md", (_SLOW * 80).encode())
    program = (
        "import sys, time; from pathlib import Path; from indexer.domain import load_domain;"
        "from indexer.reading.reader import ReaderPool; from indexer.reading.sources import scan;"
        "domain = load_domain(Path(sys.argv[1])); pool = ReaderPool(domain, 1);"
        "files = [f for f in scan(domain) if f.path == 'slow.md'];"
        "print('go', flush=True); list(pool.read(files))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(folder)], stdout=subprocess.PIPE
    ) as job:
        readers = list(_readers_of(job.pid))
        job.kill()
    assert readers
    assert not psutil.wait_procs(readers, timeout=5)[1]


def _readers_of(pid: int) -> Iterator[psutil.Process]:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = psutil.Process(pid).children()
        if found and sum(found[0].cpu_times()[:2]) > 0.5:
            yield from found
            return
        time.sleep(0.02)
    raise AssertionError("no reader was started")


def test_a_reader_can_open_no_socket_and_start_no_program() -> None:
    program = (
        "from indexer.reading.confined import forbid_network_and_programs as forbid\n"
        "import os, socket\n"
        "print(forbid())\n"
        "try:\n    socket.socket()\nexcept PermissionError:\n    print('no socket')\n"
        "try:\n    os.execv('/bin/true', ['true'])\n"
        "except PermissionError:\n    print('no program')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    if done.stdout.startswith("False"):
        pytest.skip("this kernel takes no filter")
    assert done.stdout.split("\n")[:3] == ["True", "no socket", "no program"]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("worker", "torch faiss kreuzberg pypdfium2 sentence_transformers asyncio"),
        ("reader, indexer.reading.sources", "markdown_it selectolax yaml indexer.reading.door"),
    ],
)
def test_a_process_loads_no_library_that_it_does_not_need(module: str, absent: str) -> None:
    program = (
        f"import sys, indexer.reading.{module}; "
        f"print(sorted(set({absent.split()}) & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.strip() == b"[]"


def test_the_identity_follows_settings_and_passwords(folder: Path) -> None:
    plain = reader_identity(load_domain(folder))
    assert plain == reader_identity(load_domain(folder))
    text = '[documents]\npasswords = "words.txt"\n'
    (folder / "domain.toml").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=r"words\.txt.*documents\.passwords"):
        reader_identity(load_domain(folder))
    (folder / "words.txt").write_text("sesame\n", encoding="utf-8")
    locked = reader_identity(load_domain(folder))
    (folder / "words.txt").write_text("sesame\nopen\n", encoding="utf-8")
    assert len({plain, locked, reader_identity(load_domain(folder))}) == 3
    assert reader_identity(_limits(folder, "seconds = 7")) != plain


def test_a_reader_whose_starter_is_gone_ends_at_once() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "indexer.reading.worker", str(os.getpid() + 1)],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b""


def test_a_reader_speaks_only_of_the_file_it_was_given(domain: Domain) -> None:
    source = _files(domain)[0]
    reading = read_source(source, rules_of(domain))
    message = reading_message(reading)
    assert to_reading(source, message) == reading
    for path in ("other.md", "../kettle.md", source.path + "2"):
        message["documents"][0]["path"] = path
        with pytest.raises(ValueError, match="no part of"):
            to_reading(source, message)
    message["documents"][0]["path"] = f"{source.path}/part"
    assert to_reading(source, message).documents[0].path == f"{source.path}/part"


@pytest.mark.parametrize("said", [b"nonsense" * 4, packed({"odd": 1})])
def test_a_reader_that_talks_nonsense_is_heard_no_more(domain: Domain, said: bytes) -> None:
    child = Child(rules_of(domain))
    try:
        while not child.ready:
            assert child.hear() == []
        child._unpacker.waiting += said
        child.give(Job(_files(domain)[0]))
        heard: list[Job] | None = []
        while heard == []:
            heard = child.hear()
        assert heard is None
    finally:
        child.end()
