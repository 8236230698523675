#!/usr/bin/env python3
"""make_shuffle_fixture.py: prints the permutations that tests/test_order.c holds, drawn with numpy's PCG64 (state and shuffle as
engine/base/rng.h documents them), so that shuffled orders are checked against another generator than our own.

    python3 tools/make_shuffle_fixture.py        (made with numpy 2.x; PCG64's stream is fixed by numpy's compatibility policy)
"""
import numpy as np

MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645


def shuffled(first, last, seed, stream):
    increment = 2 * stream + 1
    bits = np.random.PCG64()
    state = ((increment + seed) * MULTIPLIER + increment) % 2**128
    bits.state = {"bit_generator": "PCG64", "state": {"state": state, "inc": increment}, "has_uint32": 0, "uinteger": 0}
    items = list(range(first, last + 1))
    for i in range(len(items) - 1, 0, -1):
        limit = 2**64 - 2**64 % (i + 1)
        x = int(bits.random_raw())
        while x >= limit:
            x = int(bits.random_raw())
        j = x % (i + 1)
        items[i], items[j] = items[j], items[i]
    return items


for first, last, seed in [(0, 7, 1), (8, 23, 1), (3, 3, 5), (0, 31, 18446744073709551615), (2, 11, 0)]:
    print('{"shuffle(%d-%d,seed=%d)", "%s"},' % (first, last, seed, ",".join(map(str, shuffled(first, last, seed, 0)))))
print("shuffle:3, 12 layers, seed 5:")
for stream in range(3):
    print('"%s",' % ",".join(map(str, shuffled(0, 11, 5, stream))))
