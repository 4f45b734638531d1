"""Whether a study's answers rest on what they cite is told by words, by a model, by a judge."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from aiohttp import web
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
from typer.testing import CliRunner

from dslm import app
from eval.scoring.grounding import by_words
from eval.study.grounding import by_judge, by_nli, grounding_grid
from eval.study.results import Results
from eval.study.spec import read_study
from indexer.errors import BadInput
from tests.eval.study.records import record

KETTLE = "The kettle holds 1.7 litres."
WORDS = "[PAD] [UNK] [CLS] [SEP] the kettle holds litres toast".split()


def _cited(quote: str) -> list[dict[str, Any]]:
    return [{"start": 0, "end": 3, "quote": quote}]


RECORDS = [
    record("a", "1", answer="[1] The kettle holds 1.7 litres.", cited=_cited(KETTLE)),
    record("a", "2", answer="[1] The kettle holds 3 litres.", cited=_cited(KETTLE)),
    record("a", "3", answer="The documents do not say.", refused=True),
    record("b", "1", answer="It holds 1.7 litres."),
]


def test_by_words_every_condition_has_its_shares() -> None:
    grid = grounding_grid("t, by words", RECORDS, by_words)
    rows = {row[0]: [cell.split()[0] for cell in row[1:]] for row in grid.rows}
    assert rows == {
        "a": ["0.33", "1.00", "0.50", "0.50", "0.50", "0"],
        "b": ["0.00", "0.00", "0.00", "-", "1.00", "0"],
    }


def _nli(folder: Path, labels: dict[int, str]) -> Path:
    """One layer over nine words, with an output for each label."""
    torch.manual_seed(2)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=32,
        id2label=labels,
        label2id={name: at for at, name in labels.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    splitter = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "[UNK]"))
    splitter.pre_tokenizer = pre_tokenizers.Whitespace()
    splitter.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=splitter, pad_token="[PAD]", unk_token="[UNK]", model_max_length=32
    ).save_pretrained(folder)
    return folder


def test_an_nli_model_supports_what_it_calls_entailed(tmp_path: Path) -> None:
    folder = _nli(tmp_path, {0: "contradiction", 1: "ENTAILMENT", 2: "neutral"})
    pairs = [("the kettle holds", "the toast"), ("toast toast", "kettle"), ("litres", "the")]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    network = BertForSequenceClassification.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = [
            int(network(**tokenizer(*pair, return_tensors="pt")).logits.argmax()) == 1
            for pair in pairs
        ]
    assert by_nli(str(folder))(pairs) == expected
    assert by_nli(str(folder))([]) == []


def test_a_model_that_knows_no_entailment_is_named(tmp_path: Path) -> None:
    folder = _nli(tmp_path, {0: "good", 1: "bad"})
    with pytest.raises(BadInput, match="does not say which of its labels is entailment"):
        by_nli(str(folder))
    with pytest.raises(BadInput, match="cannot be loaded"):
        by_nli(str(tmp_path / "none"))


@contextmanager
def judging() -> Iterator[str]:
    """An endpoint that says yes to what holds 1.7, no to 3, and a speech or an error to others."""

    async def chat(request: web.Request) -> web.Response:
        body = await request.json()
        asked = body["messages"][-1]["content"]
        claim = asked.rpartition("Claim: ")[2]
        if "refuse" in claim:
            return web.json_response({"error": {"message": "no"}}, status=400)
        said = "Yes." if "1.7" in claim else "**no**" if "3" in claim else "Well, that depends."
        message = {"message": {"content": said}, "finish_reason": "stop"}
        return web.json_response({"choices": [message], "usage": {}})

    loop = asyncio.new_event_loop()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(application)
    loop.run_until_complete(runner.setup())
    loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", 0).start())
    host, port = runner.addresses[0][:2]
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://{host}:{port}"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(runner.cleanup())
        loop.close()


def test_a_judge_says_yes_or_no_and_anything_else_is_a_failure() -> None:
    pairs = [(KETTLE, "It holds 1.7."), (KETTLE, "It holds 3."), (KETTLE, "?"), ("", "refuse")]
    with judging() as url:
        assert by_judge(url, "big", None, 2)(pairs) == [True, False, None, None]
    assert by_judge("http://127.0.0.1:9", "big", None, 2)(pairs[:1]) == [None]


def _kept(folder: Path) -> Path:
    """A study of one task whose answers are there."""
    (folder / "rows.jsonl").write_text('{"question": "1?", "answer": "x"}\n', encoding="utf-8")
    told = {
        "name": "s",
        "tasks": [{"name": "t", "kind": "quote", "rows": "rows.jsonl"}],
        "conditions": [{"name": "a", "model": "a"}, {"name": "b", "model": "b"}],
    }
    path = folder / "study.yaml"
    path.write_text(json.dumps(told), encoding="utf-8")
    with Results(folder / "study-answers", read_study(path)) as results:
        for one in RECORDS:
            results.add(one)
    return path


def test_the_command_prints_a_table_for_each_way(tmp_path: Path) -> None:
    study = _kept(tmp_path)
    with judging() as url:
        asked = ["--judge", "big", "--judge-url", url]
        found = CliRunner().invoke(app, ["eval", "grounding", str(study), *asked])
    assert found.exit_code == 0, found.output
    assert "Groundedness, t, by words" in found.output
    assert "Groundedness, t, by big, asked" in found.output


def test_the_command_names_a_key_that_is_missing(tmp_path: Path) -> None:
    asked = ["--judge", "big", "--judge-key-env", "NO_SUCH_KEY"]
    found = CliRunner().invoke(app, ["eval", "grounding", str(_kept(tmp_path)), *asked])
    assert isinstance(found.exception, BadInput)
    assert "NO_SUCH_KEY" in str(found.exception)
