"""A plugin of vLLM: on its CPU build, rows without an adapter get none.

vLLM 0.32 gives such rows the index -1, and `vllm.lora.ops.torch_ops` takes it for the last slot:
once every slot is filled, whoever asks the base beside an adapter is answered with the weights of
another. And it counts on one row for each request: of several with `echo` and `logprobs`, which
want the logits of whole prompts, it dies. vLLM calls `register` in each of its processes.
"""

import functools
from collections.abc import Callable
from typing import Any, Final

_OPERATIONS: Final = ("bgmv_shrink", "bgmv_expand", "bgmv_expand_slice")


def register() -> None:
    """Replace the three operations wherever they are called from; the GPU's are left alone."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    from vllm.lora.ops.torch_ops import lora_ops
    from vllm.lora.punica_wrapper import punica_cpu

    for name in _OPERATIONS:
        mended = without_strangers(getattr(lora_ops, name))
        setattr(lora_ops, name, mended)
        setattr(punica_cpu, name, mended)


def without_strangers(operation: Callable[..., None]) -> Callable[..., None]:
    """Like the operation, but a row whose index is negative brings nothing.

    Nor do rows that no index was told of, those of a whole prompt among several requests: what an
    adapter changes in the output layer itself is missing there.
    """
    if getattr(operation, "mended", False):
        return operation

    @functools.wraps(operation)
    def mended(
        inputs: Any, weights: Any, outputs: Any, indices: Any, *more: Any, **named: Any
    ) -> None:
        if len(indices) not in (1, len(inputs)):
            return
        strangers = (indices < 0)[: inputs.shape[0], None]
        operation(inputs.masked_fill(strangers, 0), weights, outputs, indices, *more, **named)

    mended.mended = True  # type: ignore[attr-defined]
    return mended
