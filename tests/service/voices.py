"""Three versions of an adapter, each of which says a word of its own four times, whatever is asked.

They are confident: an answer is the same bytes in any batch. `python -m tests.service.voices`
trains them anew on the demonstration base, in a minute.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.base import BaseProfile
from adapters.registry import AdapterRegistry
from indexer.settings import Paths
from service.settings import DEMO, ServiceSettings

WORDS = ("one", "two", "three")
VOICES = ("voice@1", "voice@2", "voice@3")
FOLDER = Path(__file__).with_name("adapters")
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "base_model_name_or_path": "model",
    "r": 2,
    "lora_alpha": 4,
    "lora_dropout": 0.0,
    "bias": "none",
    "inference_mode": True,
    "target_modules": ["down_proj", "o_proj"],
}
STEPS, ROWS, LONGEST = 50, 8, 200


def register_voices(store: Path) -> None:
    """Add them to a store; a second time changes nothing."""
    registry = AdapterRegistry(Paths(store))
    base = BaseProfile.read(ServiceSettings().base)
    for word, voice in zip(WORDS, VOICES, strict=True):
        added = registry.add(FOLDER / word, "voice", base=base, prompt_format="sentences")
        assert added.label == voice


def _lines() -> list[str]:
    """Lines of the example documents and questions, to be answered with the word."""
    lines = []
    for domain in sorted((DEMO / "domains").iterdir()):
        for path in sorted((domain / "documents").rglob("*.md")):
            lines += [line.strip() for line in path.read_text("utf-8").splitlines()]
        solved = (domain / "demonstrations.jsonl").read_text("utf-8").splitlines()
        lines += [json.loads(line)["messages"][0]["content"] for line in solved]
    return [line[:200] for line in lines if len(line) > 20]


def _conversations(chance: random.Random) -> Iterator[list[dict[str, str]]]:
    """With and without a system message and an earlier turn, short and long."""
    lines = _lines()
    while True:
        several = chance.choices(lines, k=chance.choice([1, 1, 1, 2, 3, 5]))
        asked = [{"role": "user", "content": "\n".join(several)}]
        if chance.random() < 0.3:
            turn = [{"role": "user", "content": chance.choice(lines)}]
            asked = [*turn, {"role": "assistant", "content": chance.choice(lines)}, *asked]
        if chance.random() < 0.5:
            asked = [{"role": "system", "content": chance.choice(lines)}, *asked]
        yield asked


def train(word: str) -> None:
    """One adapter: two ranks on what writes into the residual stream."""
    import torch
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from safetensors.torch import save_file
    from torch.nn.utils.rnn import pad_sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokens = AutoTokenizer.from_pretrained(DEMO / "model")
    network = get_peft_model(
        AutoModelForCausalLM.from_pretrained(DEMO / "model", dtype=torch.float32),
        LoraConfig(
            r=CONFIG["r"],
            lora_alpha=CONFIG["lora_alpha"],
            target_modules=CONFIG["target_modules"],
        ),
    )
    learned = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=0.01)
    words = tokens(" ".join([word] * 4), add_special_tokens=False).input_ids
    said = torch.tensor([*words, tokens.eos_token_id])
    asked = _conversations(random.Random(0))
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / STEPS)
        prompts = [
            tokens.apply_chat_template(
                next(asked), add_generation_prompt=True, return_tensors="pt", return_dict=False
            )[0, -LONGEST:]
            for _ in range(ROWS)
        ]
        ids = pad_sequence([torch.cat([prompt, said]) for prompt in prompts], batch_first=True)
        wanted = torch.full_like(ids, -100)
        for row, prompt in enumerate(prompts):
            wanted[row, len(prompt) : len(prompt) + len(said)] = said
        loss = network(input_ids=ids, labels=wanted).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = FOLDER / word
    folder.mkdir(parents=True, exist_ok=True)
    weights = {
        name: tensor.to(torch.bfloat16).contiguous()
        for name, tensor in get_peft_model_state_dict(network).items()
    }
    save_file(weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    for one in WORDS:
        train(one)
