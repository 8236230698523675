"""Writes tests/data/statistics/expected.json: the paired bootstrap, exact sums and rank correlations as numpy, Python's fractions
and scipy-free formulas give them, for tests/test_statistics.c.

usage: python3 tools/make_statistics_fixture.py [OUT_DIR]          (needs numpy)
The generator is numpy's own PCG64 with its state set as engine/base/rng.h seeds it; draws follow experiments/statistics.h.
"""
import json, os, sys
from fractions import Fraction
import numpy as np

OUT = sys.argv[1] if len(sys.argv) > 1 else "tests/data/statistics"
MASK, MULT = (1 << 128) - 1, 0x2360ED051FC65DA44385DF649FCCF645


def generator(seed, stream):
    inc = 2 * stream + 1
    state = ((0 * MULT + inc + seed) * MULT + inc) & MASK
    bg = np.random.PCG64()
    bg.state = {"bit_generator": "PCG64", "state": {"state": state, "inc": inc}, "has_uint32": 0, "uinteger": 0}
    return bg


def draw_counts(seed, n_resamples, n_units):
    raw = generator(seed, 1)
    counts = np.zeros((n_resamples, n_units))
    limit = (1 << 64) - ((1 << 64) % n_units)
    for r in range(n_resamples):
        for _ in range(n_units):
            x = int(raw.random_raw())
            while x >= limit:
                x = int(raw.random_raw())
            counts[r, x % n_units] += 1
    return counts


def bootstrap(num, den, den_of, contrasts, n_resamples, seed):
    counts = draw_counts(seed, n_resamples, num.shape[1])
    with np.errstate(all="ignore"):
        draws = (counts @ num.T) / (counts @ den.T)[:, den_of]
        point = num.sum(1) / den.sum(1)[den_of]
    out, families = [], {}
    for i, (family, terms) in enumerate(contrasts):
        d = sum(w * draws[:, k] for k, w in terms)
        t = sum(w * point[k] for k, w in terms)
        kept = d[np.isfinite(d)]
        if min((den[den_of[k]] > 0).sum() for k, _ in terms) < 20 or (n_resamples - len(kept)) * 100 > n_resamples:
            out.append([t, None, None, None])
            continue
        se = kept.std(ddof=1)
        lo, hi = np.quantile(kept, [0.025, 0.975])
        out.append([t, se, lo, hi])
        if se > 0:
            families.setdefault(family, []).append(np.where(np.isfinite(d), abs(d - t) / se, 0))
    crit = {f: float(np.quantile(np.max(v, axis=0), 0.95)) for f, v in families.items()}
    return [{"estimate": o[0], "se": o[1], "lo": o[2], "hi": o[3],
             "half": None if o[1] is None else crit.get(contrasts[i][0], 0.0) * o[1]} for i, o in enumerate(out)]


def ranks(x):
    return [sum(v < a for v in x) + (sum(v == a for v in x) + 1) / 2 for a in x]


def main():
    os.makedirs(OUT, exist_ok=True)
    rng = np.random.default_rng(7)
    units, ratios = 26, 6
    den = np.stack([rng.integers(50, 900, units), rng.integers(0, 3, units), rng.integers(1, 40, units)]).astype(float)
    den[1, :9] = 0                                  # too few units: no interval
    den_of = [0, 0, 0, 2, 2, 1]
    num = np.stack([den[den_of[s]] * (3 + 0.3 * s + rng.normal(0, 0.4, units)) for s in range(ratios)])
    contrasts = [(0, [(1, 1.0), (0, -1.0)]), (0, [(2, 1.0), (0, -1.0)]), (0, [(0, 1.0), (0, -1.0)]),
                 (1, [(3, 1.0), (4, -1.0), (1, -1.0), (0, 1.0)]), (1, [(3, 1.0)]), (1, [(5, 1.0)])]
    n_resamples, seed = 1000, 42
    boot = {"n_resamples": n_resamples, "seed": seed, "numerators": num.tolist(), "denominators": den.tolist(),
            "denominator_of": den_of, "contrasts": [{"family": f, "terms": [list(t) for t in ts]} for f, ts in contrasts],
            "expected": bootstrap(num, den, den_of, contrasts, n_resamples, seed)}
    sums = []
    for k in range(12):
        x = rng.normal(0, 1, 60) * 10.0 ** rng.integers(-300 if k % 3 == 0 else -20, 290 if k % 3 == 0 else 20, 60)
        if k % 4 == 0:
            x = np.concatenate([x, -x[:-1]])
        if k == 5:
            x = np.array([1.0, 2.0 ** -53, 2.0 ** -106])          # just above a tie
        if k == 6:
            x = np.array([1.0, 2.0 ** -53])                        # a tie: to even
        if k == 7:
            x = np.array([5e-324] * 9 + [-2.2250738585072014e-308])
        exact = sum((Fraction(float(v)) for v in x), Fraction(0))
        sums.append({"x": [float(v).hex() for v in x], "sum": float(exact).hex()})   # Fraction -> float rounds correctly
    x = rng.integers(0, 6, 15).astype(float).tolist()
    y = rng.integers(0, 6, 15).astype(float).tolist()
    a, b = np.array(ranks(x)), np.array(ranks(y))
    s = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i in range(15) for j in range(i)]
    tau = sum(p * q for p, q in s) / np.sqrt(sum(p != 0 for p, _ in s) * sum(q != 0 for _, q in s))
    rank = {"x": x, "y": y, "spearman": float(np.corrcoef(a, b)[0, 1]), "kendall": float(tau)}
    with open(os.path.join(OUT, "expected.json"), "w") as f:
        json.dump({"numpy": np.__version__, "bootstrap": boot, "sums": sums, "ranks": rank}, f, indent=1)
        f.write("\n")


if __name__ == "__main__":
    main()
