"""The encoders' bench: shapes as published, rates of what really ran, and clear refusals."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from eval.bench import encoders
from eval.bench.__main__ import app
from eval.bench.encoders import Encoded, EncoderShape
from indexer.errors import BadInput

TINY = {"tiny-bert": EncoderShape(32, 2, 2), "tiny-t5": EncoderShape(32, 2, 2, is_t5=True)}


@pytest.mark.parametrize("shape", TINY.values(), ids=TINY)
def test_what_is_counted_for_a_token_is_two_for_each_weight_of_the_layers(
    shape: EncoderShape,
) -> None:
    inside = [
        weight.numel()
        for name, weight in encoders.network(shape, 64).named_parameters()
        if weight.ndim == 2 and "layer" in name and "relative" not in name
    ]
    length = 1 << 20  # what belongs to a text alone is nothing to one of its tokens
    attended = 4 * length * shape.width * shape.layers
    assert shape.operations(length) == 2 * sum(inside) + attended


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("minilm", 10.6),
        ("bge-small", 21.2),
        ("bge-base", 84.9),
        ("bge-large", 302),
        ("gtr-base", 85),
    ],
)
def test_shapes_have_the_weights_that_their_makers_publish(name: str, millions: float) -> None:
    shape = encoders.shape_of(name)
    length = 1 << 20
    weights = (shape.operations(length) - 4 * length * shape.width * shape.layers) / 2e6
    assert weights == pytest.approx(millions, rel=0.01)


def test_each_shape_runs_from_texts_to_vectors_in_turns_with_the_peak(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoders, "SHAPES", TINY)
    monkeypatch.setattr(encoders, "multiplied", lambda *_: 1e9)
    said: list[str] = []
    found = encoders.measure(list(TINY), [8, 16], 4, 2, tmp_path, said.append)
    assert [(one.name, one.length) for one in found] == [(n, i) for n in TINY for i in (8, 16)]
    assert all(len(one.rates) == len(one.peaks) == 2 for one in found)
    table = encoders.grid(found)
    assert {len(row) for row in table.rows} == {len(table.head)}
    assert len(said) == 4


def test_the_share_is_of_the_operations_that_the_rate_stands_for() -> None:
    one = Encoded("bge-base", 128, "cpu", "fp32", 1000, rates=[10.0, 20.0, 30.0], peaks=[1e5])
    assert one.share == 0.2


def test_the_peak_is_positive_and_leaves_the_threads_as_they_were() -> None:
    import torch

    before = torch.get_num_threads()
    assert encoders.multiplied("cpu", "fp32", seconds=0.01) > 1e8
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--shapes", "bert-base"], "no shape 'bert-base'"),
        (["--lengths", "2"], "--lengths: '2'"),
        (["--lengths", "long"], "--lengths: 'long'"),
    ],
)
def test_what_cannot_be_measured_is_refused(options: list[str], complaint: str) -> None:
    outcome = CliRunner().invoke(app, ["encoders", *options])
    assert isinstance(outcome.exception, BadInput)
    assert complaint in outcome.exception.message
