"""What runs a transformer: token ids to one float32 vector per token.

torch runs it as it was loaded. onnx and openvino run a converted copy, which is made once and
kept in the user's cache folder (`indexer.embedding.converted`), never beside the model's files.
"""

from queue import SimpleQueue
from typing import Any, Protocol

import numpy as np
import torch

from indexer.cores import cores
from indexer.embedding.converted import onnx_file, openvino_file
from indexer.embedding.loading import Loaded

Ids = np.ndarray[Any, np.dtype[np.int64]]


class Backend(Protocol):
    """`alone`: a text's vector would depend on the texts that share its batch."""

    alone: bool

    def __call__(self, ids: Ids, mask: Ids) -> torch.Tensor:
        """Token ids and mask [n, t] to float32 [n, t, hidden]; from any number of threads."""
        ...


def open_backend(name: str, dtype: str, device: str, loaded: Loaded) -> Backend:
    if name == "openvino":
        return OpenvinoBackend(loaded, dtype)
    if name == "onnx":
        return OnnxBackend(loaded, dtype)
    return TorchBackend(loaded, device)


class TorchBackend:
    """The network as it was loaded, on its device."""

    alone = False

    def __init__(self, loaded: Loaded, device: str) -> None:
        self._network = loaded.parts.network
        self._device = device

    def __call__(self, ids: Ids, mask: Ids) -> torch.Tensor:
        return self._network(self._there(ids), self._there(mask)).float()

    def _there(self, numbers: Ids) -> torch.Tensor:
        here = torch.from_numpy(numbers)
        if self._device == "cpu":
            return here
        # Pinned, the copy goes on while this thread prepares what follows.
        return here.pin_memory().to(self._device, non_blocking=True)


class OpenvinoBackend:
    """One stream per core. int8 is of the weights; activations are quantised per token group."""

    alone = False

    def __init__(self, loaded: Loaded, dtype: str) -> None:
        import openvino

        precision = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}[dtype]
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": precision,
            "NUM_STREAMS": cores(),
            "INFERENCE_NUM_THREADS": cores(),
            "ENABLE_CPU_PINNING": False,  # pinned, two processes would share one core
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 128 if dtype == "int8" else 0,
        }
        file = openvino_file(loaded, quantised=dtype == "int8")
        compiled = openvino.Core().compile_model(str(file), "CPU", options)
        self._requests: SimpleQueue[Any] = SimpleQueue()
        for _ in range(cores()):
            self._requests.put(compiled.create_infer_request())

    def __call__(self, ids: Ids, mask: Ids) -> torch.Tensor:
        request = self._requests.get()
        try:
            tokens = request.infer([ids, mask])[0]
            return torch.from_numpy(np.array(tokens, dtype=np.float32))
        finally:
            self._requests.put(request)


class OnnxBackend:
    """One thread per call. int8 has one scale for all activations of a batch, so texts go alone."""

    def __init__(self, loaded: Loaded, dtype: str) -> None:
        import onnxruntime

        self.alone = dtype == "int8"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        file = onnx_file(loaded, quantised=dtype == "int8")
        self._session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, ids: Ids, mask: Ids) -> torch.Tensor:
        [tokens] = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        return torch.from_numpy(tokens)
