#!/usr/bin/env python3
"""Makes tests/data/blocks.safetensors: random blocks of GGUF's block formats, and what the package gguf makes of them.

    make_block_fixtures.py [LIBRARY]

LIBRARY: ggml-quants.c as a shared object; its dequantize_row_* must then give the same bits (those of the package were checked so).

For each format `NAME.blocks` U8 and `NAME.values` F32. Scales are ordinary, subnormal, zero and of either sign. Made with gguf
0.19, and checked with ggml of llama.cpp as llama-cpp-python 0.3.36 carries it.
"""

import ctypes
import os
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file

# Where a block's f16 scales lie (Q8_K: one f32).
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
          "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "Q8_K": []}
N_BLOCKS = 6


def q8_k(blocks):
    d = blocks[:, :4].copy().view(np.float32)
    return d * blocks[:, 4:260].view(np.int8).astype(np.float32)


def main():
    rng = np.random.default_rng(20261125)
    library = ctypes.CDLL(sys.argv[1], mode=os.RTLD_LAZY) if len(sys.argv) > 1 else None
    out = {}
    for name, offsets in SCALES.items():
        kind = gguf.GGMLQuantizationType[name]
        n_elems, n_bytes = gguf.GGML_QUANT_SIZES[kind]
        blocks = rng.integers(0, 256, (N_BLOCKS, n_bytes), dtype=np.uint8)
        for offset in offsets:
            scales = rng.normal(0, 0.02, N_BLOCKS).astype(np.float16)
            scales[0], scales[1] = 3e-7, 0
            blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(N_BLOCKS, 2)
        if name == "Q8_K":
            blocks[:, :4] = rng.normal(0, 0.02, N_BLOCKS).astype(np.float32).view(np.uint8).reshape(N_BLOCKS, 4)
            values = q8_k(blocks)
        else:
            values = gguf.quants.dequantize(blocks.reshape(1, -1), kind)
        values = np.ascontiguousarray(values.reshape(-1), dtype=np.float32)
        if library:
            theirs = np.empty_like(values)
            raw = blocks.tobytes()
            getattr(library, "dequantize_row_" + (name.lower() if name.startswith("IQ") else name.lower().replace("_k", "_K")))(
                raw, theirs.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(values.size))
            same = np.array_equal(values.view(np.uint32), theirs.view(np.uint32))
            print(name, "equals ggml's" if same else "DIFFERS from ggml's")
        out[name + ".blocks"] = blocks.reshape(-1)
        out[name + ".values"] = values
    save_file(out, "tests/data/blocks.safetensors")


main()
