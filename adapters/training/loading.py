"""The base that is trained on: loaded in full, or with its weights as four-bit floats.

With its neighbour `optimising` the only module that touches bitsandbytes, and only for QLoRA.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from adapters.base import BaseProfile
from adapters.training.extras import check_extras
from adapters.training.settings import TrainSettings


def load_base(settings: TrainSettings, base: BaseProfile) -> PreTrainedModel:
    """Load a base in an explicit dtype; BadInput where QLoRA's library is missing."""
    device = torch.device(settings.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    half = settings.dtype == "bf16" or (settings.dtype == "auto" and device.type != "cpu")
    # Steps of a learning rate are too small for bf16 weights; those that learn are fp32.
    dtype = torch.bfloat16 if half and settings.method != "full" else torch.float32
    if settings.method == "qlora":
        return _quantised(base, device, dtype)
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(base.folder, dtype=dtype)
    return loaded.to(device)


def _quantised(base: BaseProfile, device: torch.device, dtype: torch.dtype) -> PreTrainedModel:
    """NF4 with double quantisation, computed in `dtype` (QLoRA, arXiv 2305.14314, section 3)."""
    check_extras("qlora")
    from peft import prepare_model_for_kbit_training
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    loaded: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        base.folder, dtype=dtype, quantization_config=config, device_map={"": device}
    )
    keep_unpacked(loaded)
    prepared: PreTrainedModel = prepare_model_for_kbit_training(
        loaded, use_gradient_checkpointing=False
    )
    return prepared


def keep_unpacked(module: Any) -> None:
    """Forbid bitsandbytes to repack four-bit weights for inference on a CPU with AVX512-BF16.

    It does so at the first evaluation, and repacked weights have no gradient kernel: what is
    learned afterwards is wrong, and nothing but a warning says so (bitsandbytes 0.50.2). Whether
    it helped is looked at before the first step; see `optimising.check_gradients`.
    """
    from bitsandbytes.nn import Linear4bit

    for layer in module.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False
