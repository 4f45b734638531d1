"""How memory is shared: formulas against numbers worked out by hand, and refusals that help."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from adapters.base import BaseProfile
from adapters.errors import BaseRefused
from service.engines.bases import read_bases
from service.engines.machine import neighbours, read_gpus
from service.engines.memory import (
    GIB,
    Numbers,
    Options,
    read_numbers,
    read_options,
    slot_bytes,
    token_bytes,
    weight_bytes,
    work_bytes,
)
from service.engines.plan import Device, DoesNotFit, Need, share_gpu, share_host, told
from service.engines.planned import need_of, places, plan_memory
from service.settings import DEMO, ServiceSettings

# Llama-3.1-8B: 32 layers, 8 KV heads of 128, all seven matrices of a layer (out, in).
LLAMA = (
    *((4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096)),
    *((14336, 4096), (14336, 4096), (4096, 14336)),
) * 32
EIGHT = Numbers(16_060_522_496, 32, 4096, 14336, 128_256, 2 * 8 * 128, LLAMA)
H100 = Device("H100", 80 * GIB)


def need(engine: str = "base", **more: Any) -> Need:
    """8B in bf16 with four slots of rank 16, 8192 tokens of context, 256 answers."""
    how = {
        "weights": EIGHT.weights,
        "slots": 4 * slot_bytes(LLAMA, 16),
        "work": 3 * GIB,
        "token": token_bytes(EIGHT),
        "context": 8192,
        "answers": 256,
        **more,
    }
    return Need(engine, **how)


def test_a_slot_of_llama_8b_is_84_mb_at_rank_16_and_335_at_64() -> None:
    # 2 B * 16 * 32 layers * (8192 + 5120 + 5120 + 8192 + 3 * 18432)
    assert slot_bytes(LLAMA, 16) == 83_886_080
    assert slot_bytes(LLAMA, 64) == 335_544_320


def test_a_token_of_llama_8b_takes_128_kib_and_half_of_that_in_fp8() -> None:
    assert token_bytes(EIGHT) == 2 * 32 * 8 * 128 * 2 == 131_072
    assert token_bytes(EIGHT, 1.0) == 65_536


def test_room_to_compute_grows_with_the_batch_and_with_the_logits() -> None:
    assert work_bytes(EIGHT, 8192, 0) == 8192 * (8 * 4096 + 3 * 14336) * 2
    assert work_bytes(EIGHT, 0, 256) == 256 * 128_256 * 8


def test_the_demonstration_bases_numbers_are_read_from_its_files() -> None:
    numbers = read_numbers(BaseProfile.read(DEMO / "model"))
    # 6 layers, 4 heads of 64; q, k, v, o of 256 x 256 and three of 256 x 640
    assert token_bytes(numbers) == 2 * 6 * 4 * 64 * 2
    assert slot_bytes(numbers.matrices, 16) == 2 * 16 * 6 * (4 * 512 + 3 * 896)
    file = DEMO / "model" / "model.safetensors"
    assert 0 < file.stat().st_size - numbers.weights < 20_000
    assert read_numbers(BaseProfile.read(DEMO / "model"), 4).weights == 2 * numbers.weights


def write_tensors(path: Path, dtype: str, count: int, size: int) -> None:
    header = json.dumps(
        {"x": {"dtype": dtype, "shape": [count], "data_offsets": [0, count * size]}}
    )
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(count * size))


def test_packed_weights_count_as_stored_and_floats_as_they_are_loaded(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", "F32", 100, 4)
    write_tensors(tmp_path / "b.safetensors", "I32", 100, 4)
    assert weight_bytes(tmp_path, 2) == 200 + 400
    index = {"weight_map": {"x": "a.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    assert weight_bytes(tmp_path, 2) == 200
    (tmp_path / "a.safetensors").unlink()
    with pytest.raises(BaseRefused, match=r"a\.safetensors is missing"):
        weight_bytes(tmp_path, 2)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", Options()),
        ("--max-num-seqs 64 --max-model-len=8k", Options(answers=64, context=8000)),
        ("--max_model_len 8K -tp 2", Options(context=8192, gpus=2)),
        ("--kv-cache-dtype fp8_e4m3", Options(kv_size=1.0)),
        ("--gpu-memory-utilization 0.5 --dtype float32", Options(share=0.5, dtype="float32")),
        ("--max-model-len auto --gpu-memory-utilization much", Options()),
    ],
)
def test_vllms_own_options_are_counted_with(line: str, found: Options) -> None:
    assert read_options(line) == found


def test_a_gpu_holds_what_is_fixed_and_the_rest_is_cache() -> None:
    (ration,) = share_gpu(H100, [("the service", GIB)], [need()])
    fixed = EIGHT.weights + 4 * 83_886_080 + 3 * GIB
    assert ration.need.fixed == fixed
    # 98 of a hundred, less the service, and no more than 256 whole answers would take
    assert ration.cache == pytest.approx(0.98 * 80 * GIB - GIB - fixed, abs=2)
    assert ration.share == pytest.approx((0.98 * 80 - 1) / 80, abs=0.001)
    assert (ration.share * 80 * GIB) <= 0.98 * 80 * GIB - GIB
    (line,) = told(H100, [], [ration])[1:]
    assert "weights 15.0 GiB, LoRA slots 0.3 GiB" in line
    assert f"{ration.cache // 131_072:,} tokens" in line


def test_no_more_is_taken_than_every_answer_at_full_length_needs() -> None:
    (ration,) = share_gpu(H100, [], [need(answers=4)])
    assert ration.cache == 4 * 8192 * 131_072
    assert "4 of 4 answers of 8,192 tokens" in str(ration)


def test_two_bases_share_a_gpu_and_what_one_does_not_need_the_other_gets() -> None:
    small, large = share_gpu(H100, [], [need("small", answers=1), need("large")])
    assert small.cache == 8192 * 131_072
    together = small.need.fixed + small.cache + large.need.fixed + large.cache
    assert together == pytest.approx(0.98 * 80 * GIB, abs=4)
    assert small.share + large.share < 0.98


def test_what_does_not_fit_is_refused_with_what_to_lower() -> None:
    card = Device("GPU 0 (L4)", 24 * GIB)
    assert share_gpu(card, [], [need()])[0].cache > 0
    with pytest.raises(DoesNotFit) as refused:
        share_gpu(card, [("bge-large", GIB)], [need(context=131_072)])
    said = str(refused.value)
    assert "GPU 0 (L4) has 24.0 GiB, and 22.5 GiB are left beside bge-large (1.0 GiB)" in said
    assert "KV cache of one answer of 131,072 tokens 16.0 GiB" in said
    assert "Lower DSLM_MAX_MODEL_LEN to " in said
    lowered = int(said.partition("DSLM_MAX_MODEL_LEN to ")[2].split()[0])
    share_gpu(card, [("bge-large", GIB)], [need(context=lowered)])
    with pytest.raises(DoesNotFit):
        share_gpu(card, [("bge-large", GIB)], [need(context=lowered + 512)])


def test_a_share_that_is_given_is_kept_and_checked() -> None:
    (ration,) = share_gpu(H100, [], [need(share=0.5)])
    assert ration.share == pytest.approx(0.5, abs=0.001)
    with pytest.raises(DoesNotFit, match="raise DSLM_GPU_MEMORY"):
        share_gpu(H100, [], [need(share=0.2)])
    with pytest.raises(DoesNotFit, match="a GPU of its own"):
        share_gpu(H100, [], [need("a", share=0.6), need("b", share=0.6)])


def test_a_gpu_that_others_use_has_less() -> None:
    with pytest.raises(DoesNotFit, match=r"8\.4 GiB are left beside others \(70\.0 GiB\)"):
        share_gpu(Device("GPU 0", 80 * GIB, 70 * GIB), [], [need()])


def test_a_cpu_host_gets_cache_for_a_few_answers_and_no_more_than_a_quarter() -> None:
    tiny = need(weights=GIB // 4, slots=0, work=GIB, token=12_288, context=1536, answers=128)
    (ration,) = share_host(Device("host", 16 * GIB), [], [tiny], 0)
    assert ration.cache == GIB  # 16 answers: 0.28 GiB, in whole ones
    wide = need(weights=8 * GIB, answers=128)
    (ration,) = share_host(Device("host", 27 * GIB), [], [wide], 0)
    assert ration.cache == 3 * GIB  # 16 GiB would be wanted; a quarter of what is left is less
    (ration,) = share_host(Device("host", 64 * GIB), [], [wide], 5)
    assert ration.cache == 5 * GIB


def test_a_cpu_host_that_is_too_small_says_so() -> None:
    with pytest.raises(DoesNotFit, match="too little"):
        share_host(Device("this machine", 8 * GIB), [], [need()], 0)
    with pytest.raises(DoesNotFit, match="Set DSLM_CPU_CACHE_GIB to 2"):
        share_host(Device("host", 64 * GIB), [], [need(context=16_384)], 1)


def test_nvidia_smis_lines_are_read_and_others_are_not() -> None:
    said = "0, NVIDIA H100 80GB HBM3, 81559, 1024\n1, X, [N/A], 0\n"
    found = dict(read_gpus(said))
    assert list(found) == ["0"]
    assert found["0"].name == "GPU 0 (NVIDIA H100 80GB HBM3)"
    assert (found["0"].total, found["0"].used) == (81559 * 2**20, GIB)


def test_the_demonstration_fits_here_and_its_plan_says_what_it_sets(tmp_path: Path) -> None:
    settings = ServiceSettings(store=tmp_path, cpu_cache_gib=1)
    plan = plan_memory(read_bases(settings), settings, {})
    assert plan.cache_gib("base") == 1
    assert plan.lines[-1] == "  base: VLLM_CPU_KVCACHE_SPACE=1"


def test_every_gpu_that_is_named_gets_a_child_and_a_name(tmp_path: Path) -> None:
    file = tmp_path / "engines.toml"
    text = f'[[engine]]\nname = "base"\nbase = "{DEMO / "model"}"\ngpus = ["0", "1"]\n'
    file.write_text(text, "utf-8")
    settings = ServiceSettings(store=tmp_path, engines=file)
    found = list(places(read_bases(settings)))
    assert [(place.unit, place.gpu) for place in found] == [("base.0", "0"), ("base.1", "1")]
    wanted = need_of(found[0], settings, H100)
    assert (wanted.answers, wanted.context, wanted.share) == (1024, 1536, None)


def test_the_service_counts_its_embedders_once_each(tmp_path: Path) -> None:
    from indexer.domain import load_domains

    domains = load_domains(DEMO / "domains")
    on_gpu = dict(neighbours(domains, tmp_path, on_gpu=True))
    on_host = dict(neighbours(domains, tmp_path, on_gpu=False))
    assert set(on_gpu) == {"the service", "all-MiniLM-L6-v2"}
    weights = on_host["all-MiniLM-L6-v2"] - on_gpu["all-MiniLM-L6-v2"]
    assert 40_000_000 < weights < 50_000_000  # 22.7 million parameters, 4 bytes against 2
