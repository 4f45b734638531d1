"""Reading safetensors without torch gives the values that torch wrote."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save, save_file

from adapters.tensors import read_floats, read_header


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_values_survive(tmp_path: Path, dtype: type[np.floating]) -> None:
    values = np.arange(6).reshape(2, 3).astype(dtype)
    path = tmp_path / "one.safetensors"
    save_file({"one": values, "other": values + 1}, path)
    header = read_header(path)
    assert header["one"].shape == (2, 3)
    assert (read_floats(path, header["other"]) == values + 1).all()


def test_bfloat16_is_read_as_the_float_it_stands_for(tmp_path: Path) -> None:
    text = b'{"one":{"dtype":"BF16","shape":[3],"data_offsets":[0,6]}}'
    path = tmp_path / "one.safetensors"
    bits = struct.pack("<3H", 0x3F80, 0xC000, 0x7FC0)
    path.write_bytes(len(text).to_bytes(8, "little") + text + bits)
    values = read_floats(path, read_header(path)["one"])
    assert values[:2].tolist() == [1.0, -2.0]
    assert np.isnan(values[2])


@settings(max_examples=300)
@given(
    values=arrays.arrays(np.float32, (3, 2), elements=st.floats(-10, 10, width=32)), draw=st.data()
)
def test_a_damaged_file_is_an_error_or_readable_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, values: np.ndarray, draw: st.DataObject
) -> None:
    content = bytearray(save({"one": values}))
    at = draw.draw(st.integers(0, len(content) - 1))
    content[at] ^= draw.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(bytes(content))
    try:
        header = read_header(path)
    except ValueError:
        return
    for info in header.values():
        if info.readable:
            with np.errstate(all="ignore"):
                read_floats(path, info)
