"""Copies of a transformer in the formats of other libraries, made once and kept.

They lie in `$XDG_CACHE_HOME/dslm/converted` (or `~/.cache/dslm/converted`), named by what they
are made of, and may be removed at any time.
"""

import contextlib
import hashlib
import importlib.metadata
import io
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from indexer.embedding.loading import Loaded
from indexer.errors import BadInput
from indexer.settings import store_errors, sync_folder

_VERSION = "1"
_INPUTS = ["input_ids", "attention_mask"]


def openvino_file(loaded: Loaded, quantised: bool) -> Path:
    """OpenVINO's own format; `quantised`: weights as int8, symmetric, per channel."""
    libraries = ["openvino", "nncf"] if quantised else ["openvino"]
    return _kept(
        loaded, libraries, "encoder.xml", lambda file: _to_openvino(loaded, quantised, file)
    )


def onnx_file(loaded: Loaded, quantised: bool) -> Path:
    """ONNX; `quantised`: weights as int8 per channel, activations as they come."""
    libraries = ["onnxruntime", "onnx"]
    return _kept(
        loaded, libraries, f"encoder-{quantised:d}.onnx", lambda f: _to_onnx(loaded, quantised, f)
    )


def _kept(loaded: Loaded, libraries: list[str], name: str, convert: Callable[[Path], None]) -> Path:
    versions = [_version(library) for library in libraries]
    key = hashlib.sha256(repr((_VERSION, loaded.identity, name, versions)).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "dslm/converted"
    folder = cache / key[:32]
    if not (folder / name).exists():
        with store_errors(cache):
            cache.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=cache))
            try:
                convert(draft / name)
                _publish(draft, folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    return folder / name


def _publish(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
        sync_folder(folder.parent)
    except OSError:
        if not folder.exists():  # else another process was first, with the same content
            raise


def _version(library: str) -> str:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError as error:
        raise BadInput(
            f"`embedder.backend` or `embedder.dtype` needs the library {library!r}",
            f'pip install {library}, or set `embedder.backend` = "torch"',
        ) from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Converters report to people; here the output may be a job's, which programs read."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
            torch.no_grad(),
        ):
            warnings.simplefilter("ignore")  # of tracing: the shapes that matter are kept open
            yield
    finally:
        logging.disable(level)


class _Tokens(torch.nn.Module):
    """The bare network: ids and mask to a vector per token."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network.eval()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        found = self.network(input_ids=input_ids, attention_mask=attention_mask)
        tokens: torch.Tensor = found.last_hidden_state
        return tokens


def _example() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long)


def _to_openvino(loaded: Loaded, quantised: bool, file: Path) -> None:
    import openvino

    with _quietly():
        converted = openvino.convert_model(_Tokens(loaded.parts.whole()), example_input=_example())
        if quantised:
            import nncf

            converted = nncf.compress_weights(converted, mode=nncf.CompressWeightsMode.INT8_SYM)
        openvino.save_model(converted, str(file), compress_to_fp16=False)


def _to_onnx(loaded: Loaded, quantised: bool, file: Path) -> None:
    plain = file.with_name("plain.onnx") if quantised else file
    with _quietly():
        torch.onnx.export(
            _Tokens(loaded.parts.whole()),
            _example(),
            str(plain),
            input_names=_INPUTS,
            output_names=["tokens"],
            dynamic_axes={name: {0: "texts", 1: "tokens"} for name in [*_INPUTS, "tokens"]},
            opset_version=17,
            dynamo=False,
        )
    if quantised:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with _quietly():
            quantize_dynamic(str(plain), str(file), weight_type=QuantType.QInt8, per_channel=True)
        plain.unlink()
