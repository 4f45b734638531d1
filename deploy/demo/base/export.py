"""Writes a checkpoint as a model folder that transformers and vLLM load.

Example: ``python -m deploy.demo.base.export --run run --to deploy/demo/model``
"""

import argparse
from pathlib import Path

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from deploy.demo.base.network import Shape
from deploy.demo.base.vocabulary import BEGIN, END, PAD, load_tokenizer, with_chat_template


def configuration(shape: Shape, begin: int, end: int, pad: int) -> LlamaConfig:
    """The shape in the words of transformers."""
    return LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.inner,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        head_dim=shape.head_width,
        max_position_embeddings=shape.context,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=begin,
        eos_token_id=end,
        pad_token_id=pad,
    )


def export(run: Path, target: Path) -> None:
    """Convert the run's last checkpoint; its output layer is the embedding."""
    state = torch.load(run / "checkpoint.pt", map_location="cpu", weights_only=True)
    shape = Shape(**state["shape"])
    trained = load_tokenizer(run / "tokenizer").backend_tokenizer
    tokenizer = with_chat_template(trained, shape.context)
    begin, end, pad = tokenizer.convert_tokens_to_ids([BEGIN, END, PAD])
    model = LlamaForCausalLM(configuration(shape, begin, end, pad))
    weights = {f"model.{name}": value for name, value in state["network"].items()}
    missing = model.load_state_dict(weights, strict=False)
    if set(missing.missing_keys) - {"lm_head.weight"} or missing.unexpected_keys:
        raise ValueError(f"the checkpoint does not fit the architecture: {missing}")
    model.tie_weights()
    model.generation_config = GenerationConfig(
        do_sample=False, bos_token_id=begin, eos_token_id=end, pad_token_id=pad
    )
    model.to(torch.bfloat16).save_pretrained(target)
    tokenizer.save_pretrained(target)


def main() -> None:
    """Parse the command line and export."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of a training run")
    parser.add_argument("--to", type=Path, required=True, help="folder of the model")
    arguments = parser.parse_args()
    export(arguments.run, arguments.to)


if __name__ == "__main__":
    main()
