"""Writes tests/data/results/rows.txt and expected.json: what ppl.json must say of a ledger given by a formula, as numpy and Python's
fractions compute it, for tests/test_results.c.

usage: python3 tools/make_results_fixture.py [OUT_DIR]          (needs numpy)
Every byte of a row is a token (no BOS): a row of n bytes predicts its bytes 1 .. n-1. The ledger of order o and predicted token t:
  nll = ((37 t + 101 o) mod 97) / 16 + o / 8     kl = ((5 t + 3 o) mod 13) / 64 for o > 0     rank = (7 t + o) mod 9
  top1 = (3 t + o (t mod 4 == 0)) mod 50
In the case "nonfinite" order 2 loses +infinity at token 5 and order 3 NaN at token 7.
"""
import json, math, os, sys
from fractions import Fraction
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from make_statistics_fixture import draw_counts

OUT = sys.argv[1] if len(sys.argv) > 1 else "tests/data/results"
N_ORDERS, SEED, N_RESAMPLES = 4, 3, 400


def make_rows():
    """WikiText's form: (text, kind, article)."""
    rows = []
    for a in range(25):
        rows.append((" = Title %d = " % a, "heading", a))
        for i in range(1 + a % 3):
            rows.append((" caf\u00e9 %s no %d , row %d ." % ("x" * (a % 5 + 1), a * a, i), "body", a))
    return rows


def tokens_of(rows):
    row_of, position = [], []
    for r, (text, _, _) in enumerate(rows):
        n = len(text.encode())
        row_of += [r] * (n - 1)
        position += list(range(1, n))
    return np.array(row_of), np.array(position)


def words_of(text):
    """Words that hold a predicted byte: all but one that is the first byte alone."""
    n, at = 0, 0
    for word in text.split(" "):
        n += any(p >= 1 for p in range(at, at + len(word.encode())))
        at += len(word.encode()) + 1
    return n


def mean(values):
    return float(sum(Fraction(float(v)) for v in values) / len(values))


def case(name, rows):
    row_of, position = tokens_of(rows)
    t = np.arange(len(row_of))
    units = np.array([rows[r][2] for r in row_of])
    body = np.array([rows[r][1] == "body" for r in row_of])
    words = sum(words_of(text) for text, _, _ in rows)
    n, n_units = len(t), int(units.max()) + 1
    nll = np.array([((37 * t + 101 * o) % 97) / 16 + o / 8 for o in range(N_ORDERS)])
    kl = np.array([((5 * t + 3 * o) % 13) / 64 * (o > 0) for o in range(N_ORDERS)])
    rank = np.array([(7 * t + o) % 9 for o in range(N_ORDERS)])
    top1 = np.array([(3 * t + o * (t % 4 == 0)) % 50 for o in range(N_ORDERS)])
    if name == "nonfinite":
        nll[2][5], nll[3][7] = np.inf, np.nan
    tokens_per_unit = np.bincount(units).astype(float)
    counts = draw_counts(SEED, N_RESAMPLES, n_units) if n_units >= 20 else None
    orders, draws = [], []
    for o in range(N_ORDERS):
        bad = int((~np.isfinite(nll[o])).sum())
        x = {"n_nonfinite": bad, "top1_accuracy": float((rank[o] == 0).mean()),
             "top5_accuracy": float((rank[o] < 5).mean()), "agreement": float((top1[o] == top1[0]).mean()), "kl": mean(kl[o])}
        if bad:
            x.update(dict.fromkeys(["nll", "ppl", "word_ppl", "bits_per_byte", "delta_nll", "ppl_mean_of_rows", "nll_body",
                                    "ppl_body", "delta_nll_ci95", "delta_nll_ci95_simultaneous"]))
        else:
            m, b = mean(nll[o]), mean(nll[o][body])
            x.update(nll=m, ppl=math.exp(m), word_ppl=math.exp(m * n / words), bits_per_byte=m * n / math.log(2) / n,
                     delta_nll=m - mean(nll[0]) if o else 0.0, nll_body=b, ppl_body=math.exp(b),
                     ppl_mean_of_rows=float(np.mean([math.exp(mean(nll[o][row_of == r])) for r in range(len(rows))])),
                     delta_nll_ci95=None, delta_nll_ci95_simultaneous=None)
            if counts is not None and o:
                sums = [np.bincount(units, weights=nll[k], minlength=n_units) for k in (0, o)]
                d = (counts @ sums[1] - counts @ sums[0]) / (counts @ tokens_per_unit)
                draws.append((x, d, x["delta_nll"], d.std(ddof=1)))
                x["delta_nll_ci95"] = [float(q) for q in np.quantile(d, [0.025, 0.975])]
        orders.append(x)
    if draws:
        critical = np.quantile(np.max([abs(d - e) / se for _, d, e, se in draws], axis=0), 0.95)
        for x, _, e, se in draws:
            x["delta_nll_ci95_simultaneous"] = [e - critical * se, e + critical * se]
    return {"name": name, "n_rows": len(rows), "n_tokens": n, "n_body_tokens": int(body.sum()), "words": words, "bytes": n,
            "n_units": n_units, "n_unscored": len(rows), "orders": orders}


def main():
    os.makedirs(OUT, exist_ok=True)
    rows = make_rows()
    few = [row for row in rows if row[2] < 19]
    with open(os.path.join(OUT, "rows.txt"), "w", encoding="utf-8") as f:
        f.write("".join(text + "\n\n" for text, _, _ in rows))
    cases = [case("whole", rows), case("few", few), case("nonfinite", rows)]
    with open(os.path.join(OUT, "expected.json"), "w") as f:
        json.dump({"made_by": "tools/make_results_fixture.py, numpy " + np.__version__, "seed": SEED, "n_resamples": N_RESAMPLES,
                   "cases": cases}, f, indent=1)
        f.write("\n")


main()
