#!/usr/bin/env python3
"""verify.py: recomputes the figures of a result folder from its records, in numpy, sharing no code with the program.

    python3 tools/verify.py RESULT_DIR

Read: ledger.safetensors (losses, ranks, divergences per order and predicted token), rows.jsonl (text, articles), ppl.json and
ppl.csv (the figures that are judged). Every figure of the baseline and of every order that follows from the ledger is computed anew:
nll, ppl, word_ppl, bits_per_byte, top1_accuracy, top5_accuracy, agreement, kl, delta_nll, both intervals, ppl_mean_of_rows,
nll_body, ppl_body, n_nonfinite; so are n_tokens, n_body_tokens, the denominators and the number of bootstrap units, and
ppl.csv must say what ppl.json says. Of a greedy sweep the whole path is chosen anew: per stage the layer removed, and its
losses on even and odd windows. Where `strata pos` has been, pos.json, pos.csv and pos_words.csv are judged likewise, by
verify_pos.py. Influence and FLOP counters do not follow from the ledger and are left out.

Prints what was verified and exits 0; exits 1 naming the first figure that differs; exits 2 when the folder cannot be read.

The bootstrap's draws: numpy's PCG64 with the state that engine/base/rng.h documents, seed = protocol.seed, stream 1; for each
resample, for each unit, one draw below n_units (a raw output at or above 2^64 - 2^64 mod n_units is drawn again).
"""
import csv
import hashlib
import json
import math
import os
import struct
import sys

try:
    import numpy as np
except ImportError:
    print("verify.py: needs numpy: python3 -m pip install numpy", file=sys.stderr)
    sys.exit(2)

STREAM = 1
MIN_UNITS = 20
MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645
DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4"}

# nll is an exact sum rounded once (math.fsum is one too) and a division: equal bits. exp and log may differ by an ulp between C
# libraries. A bootstrap ratio is a sum over units in another order here: at most n_units roundings of relative 2^-53 on sums of
# one sign, far below 1e-9; what is compared is a difference of two ratios, so the bound is on the ratios' size.
RELATIVE = 1e-13
BOOTSTRAP_RELATIVE = 1e-9


class Mismatch(Exception):
    pass


def read_ledger(path):
    size = os.path.getsize(path)
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        if length > size - 8:
            raise ValueError("%s: header of %d bytes in a file of %d" % (path, length, size))
        header = json.loads(f.read(length))
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(entry["shape"])
        if end - begin != dtype.itemsize * math.prod(shape) or 8 + length + end > size:
            raise ValueError("%s: %s: its bytes do not fit its shape" % (path, name))
        arrays[name] = np.memmap(path, dtype=dtype, mode="r", offset=8 + length + begin, shape=shape)
    return arrays


def read_rows(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f if line.strip()]


def exact_sum(x):
    x = np.asarray(x, dtype=np.float64)
    return math.fsum(x) if np.isfinite(x).all() else float(np.sum(x))


def safe_exp(x):
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def covered_bytes(length, starts, ends):
    """Which bytes of a text lie in the span of a predicted token."""
    change = np.zeros(length + 1, dtype=np.int64)
    np.add.at(change, starts, 1)
    np.add.at(change, ends, -1)
    return np.cumsum(change[:-1]) > 0


def count_words(text, covered):
    """Strings between white space (str.split's) that hold a covered byte."""
    n, at, inside = 0, 0, False
    for c in text:
        width = len(c.encode("utf-8", "surrogatepass"))
        if c.isspace():
            n += inside
            inside = False
        else:
            inside = inside or bool(covered[at : at + width].any())
        at += width
    return n + inside


def count_denominators(ledger, rows):
    """Words and bytes of all predicted tokens; None, None when a token comes from an ids row."""
    row_of = np.asarray(ledger["row"])
    begin, end = np.asarray(ledger["byte_start"]), np.asarray(ledger["byte_end"])
    order = np.argsort(row_of, kind="stable")
    present, first = np.unique(row_of[order], return_index=True)
    n_words = n_bytes = 0
    for row, tokens in zip(present, np.split(order, first[1:])):
        text = rows[row].get("text")
        if text is None:
            return None, None
        covered = covered_bytes(len(text.encode("utf-8", "surrogatepass")), begin[tokens], end[tokens])
        n_bytes += int(covered.sum())
        n_words += count_words(text, covered)
    return n_words, n_bytes


def units_of_windows(window_row, rows, by_article):
    """Bootstrap unit of every window: its article where it has one, else itself; numbered by first appearance."""
    seen, units = {}, []
    for w, row in enumerate(window_row):
        article = rows[row].get("article") if by_article else None
        key = ("window", w) if article is None else ("article", article)
        units.append(seen.setdefault(key, len(seen)))
    return np.array(units, dtype=np.int64), len(seen)


def draw_counts(seed, n_units, n_resamples, chunk=256):
    """Chunks [resamples, units] of how often each unit is drawn."""
    mask = (1 << 128) - 1
    increment = 2 * STREAM + 1
    state = ((increment + seed) * MULTIPLIER + increment) & mask  # S = 0; step; S += seed; step
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": state, "inc": increment},
        "has_uint32": 0,
        "uinteger": 0,
    }
    limit = 2**64 - 2**64 % n_units
    done = 0
    while done < n_resamples:
        n = min(chunk, n_resamples - done)
        draws = np.empty(0, dtype=np.uint64)
        while len(draws) < n * n_units:
            raw = bits.random_raw(n * n_units - len(draws))
            draws = np.concatenate([draws, raw if limit == 2**64 else raw[raw < np.uint64(limit)]])
        units = (draws % np.uint64(n_units)).astype(np.int64).reshape(n, n_units)
        flat = units + np.arange(n)[:, None] * n_units
        yield np.bincount(flat.ravel(), minlength=n * n_units).reshape(n, n_units).astype(np.float64)
        done += n


def bootstrap(unit_nll, unit_tokens, seed, n_resamples):
    """Per order but the first: estimate, pointwise and simultaneous interval (None where there is none)."""
    n_orders, n_units = unit_nll.shape
    draws = np.empty((n_orders - 1, n_resamples))
    at = 0
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        for counts in draw_counts(seed, n_units, n_resamples):
            ratios = (counts @ unit_nll.T) / (counts @ unit_tokens)[:, None]
            draws[:, at : at + len(counts)] = (ratios[:, 1:] - ratios[:, :1]).T
            at += len(counts)
        estimates = unit_nll.sum(axis=1) / unit_tokens.sum()
        estimates = [float(x) for x in estimates[1:] - estimates[0]]
    max_t = np.zeros(n_resamples)
    summaries = []
    for estimate, d in zip(estimates, draws):
        finite = d[np.isfinite(d)]
        if not math.isfinite(estimate) or len(finite) < 2 or (n_resamples - len(finite)) * 100 > n_resamples:
            summaries.append(None)
            continue
        se = float(np.std(finite, ddof=1))
        if se > 0:
            max_t = np.fmax(max_t, np.where(np.isfinite(d), np.abs(d - estimate) / se, 0))
        summaries.append((estimate, se, np.quantile(finite, [0.025, 0.975])))
    critical = float(np.quantile(max_t, 0.95))
    return [
        s and {
            "delta_nll_ci95": [float(s[2][0]), float(s[2][1])],
            "delta_nll_ci95_simultaneous": [s[0] - critical * s[1], s[0] + critical * s[1]],
        }
        for s in summaries
    ]


class Checker:
    def __init__(self):
        self.n = 0

    def text(self, where, found, expected):
        self.n += 1
        if found != expected:
            raise Mismatch("%s: found %r, expected %r" % (where, found, expected))

    def same(self, where, found, expected, scale=0.0, relative=RELATIVE):
        """null stands for what is not finite."""
        self.n += 1
        if isinstance(expected, (list, tuple)):
            if not isinstance(found, list) or len(found) != len(expected):
                raise Mismatch("%s: found %r, expected %r" % (where, found, expected))
            for f, x in zip(found, expected):
                self.same(where, f, x, scale, relative)
            return
        if expected is not None and not math.isfinite(expected):
            expected = None
        if found is None or expected is None:
            if found is not expected:
                raise Mismatch("%s: found %r, expected %r" % (where, found, expected))
            return
        if not abs(found - expected) <= relative * max(abs(expected), scale):
            raise Mismatch("%s: found %r, expected %r" % (where, found, expected))


def per_order(ledger, rows, protocol, n_words, n_bytes):
    """Figures of every order that need no resampling, and the sums of every unit."""
    n_orders, n = ledger["nll"].shape
    window = np.asarray(ledger["window"])
    row_of = np.asarray(ledger["row"])
    n_windows = int(window[-1]) + 1
    starts = np.searchsorted(window, np.arange(n_windows))
    window_tokens = np.diff(np.append(starts, n)).astype(np.float64)
    units, n_units = units_of_windows(row_of[starts], rows, protocol["bootstrap_unit"] == "article")
    kinds = np.array([row.get("kind") for row in rows])
    body = kinds[row_of] == "body"
    unit_nll = np.zeros((n_orders, n_units))
    unit_tokens = np.bincount(units, weights=window_tokens, minlength=n_units)
    intact_top1 = np.asarray(ledger["top1"][0])
    figures = []
    for o in range(n_orders):
        nll = np.asarray(ledger["nll"][o], dtype=np.float64)
        rank = np.asarray(ledger["rank"][o])
        finite = bool(np.isfinite(nll).all())
        mean = exact_sum(nll) / n if finite else math.nan
        with np.errstate(invalid="ignore", over="ignore"):
            window_nll = np.add.reduceat(nll, starts)
            unit_nll[o] = np.bincount(units, weights=window_nll, minlength=n_units)
            of_windows = exact_sum(np.exp(window_nll / window_tokens)) / n_windows if finite else math.nan
        nll_body = exact_sum(nll[body]) / int(body.sum()) if finite and body.any() else math.nan
        figures.append({
            "nll": mean,
            "ppl": safe_exp(mean),
            "word_ppl": safe_exp(mean * n / n_words) if n_words else math.nan,
            "bits_per_byte": mean * n / math.log(2) / n_bytes if n_bytes else math.nan,
            "top1_accuracy": int((rank == 0).sum()) / n,
            "top5_accuracy": int(((rank >= 0) & (rank < 5)).sum()) / n,
            "agreement": int((np.asarray(ledger["top1"][o]) == intact_top1).sum()) / n,
            "kl": exact_sum(ledger["kl"][o]) / n,
            "delta_nll": mean - figures[0]["nll"] if o else 0.0,
            "ppl_mean_of_rows": of_windows,
            "nll_body": nll_body,
            "ppl_body": safe_exp(nll_body),
            "n_nonfinite": int((~np.isfinite(nll)).sum()),
        })
    return figures, unit_nll, unit_tokens, int(body.sum()), n_windows


def check_rows(check, ledger, rows, protocol):
    row_of = np.asarray(ledger["row"])
    if row_of.min() < 0 or row_of.max() >= len(rows):
        raise Mismatch("ledger.safetensors: row: found %d, rows.jsonl has %d rows" % (row_of.max(), len(rows)))
    tokens = np.bincount(row_of, minlength=len(rows))
    for i, row in enumerate(rows):
        if "n_tokens" in row:
            check.same("rows.jsonl: line %d: n_tokens" % (i + 1), row["n_tokens"], int(tokens[i]))
    expected = protocol.get("hashes", {}).get("rows_sha256")
    if expected and protocol["name"] == "rows" and all(row.get("text") is not None for row in rows):
        digest = hashlib.sha256()
        for row in rows:
            text = row["text"].encode("utf-8", "surrogatepass")
            digest.update(struct.pack("<Q", len(text)) + text)
        check.n += 1
        if digest.hexdigest() != expected:
            raise Mismatch("rows.jsonl: its sha256 is %s, protocol.hashes.rows_sha256 is %s" % (digest.hexdigest(), expected))


def check_greedy(check, ledger, ppl, results):
    """Stage after stage: the lowest loss on even windows goes, the lower layer of equal ones."""
    greedy = ppl["greedy"]
    n_layers = len(results[0]["order"])
    odd = np.asarray(ledger["window"]) % 2 == 1

    def means(row):
        nll = np.asarray(ledger["nll"][row], dtype=np.float64)
        halves = nll[~odd], nll[odd]
        return [exact_sum(x) / len(x) if len(x) and np.isfinite(x).all() else math.nan for x in halves]

    check.same("ppl.json: greedy: n_tokens_even", greedy["n_tokens_even"], int((~odd).sum()))
    check.same("ppl.json: greedy: n_tokens_odd", greedy["n_tokens_odd"], int(odd.sum()))
    intact = means(0)
    check.same("ppl.json: greedy: nll_even", greedy["nll_even"], intact[0])
    check.same("ppl.json: greedy: nll_odd", greedy["nll_odd"], intact[1])
    check.same("ppl.json: greedy: number of stages", len(greedy["stages"]), greedy["n_stages"])
    left, row = list(range(n_layers)), 1
    for i, stage in enumerate(greedy["stages"]):
        where = "ppl.json: greedy: stage %d: " % i
        candidates = [(means(row + k), k) for k in range(len(left))]
        best, k = min((c for c in candidates if math.isfinite(c[0][0])), key=lambda c: (c[0][0], c[1]))
        for j, layer in enumerate(left):
            check.same(where + "order of candidate %d" % layer, results[row + j]["order"], left[:j] + left[j + 1 :])
        name = "greedy_%d_%d" % (i, left[k])
        if stage["order"] != name or results[row + k]["name"] != name or stage["spec"] != results[row + k]["spec"]:
            raise Mismatch("%sfound %s, expected %s" % (where, stage["order"], name))
        check.same(where + "stage", stage["stage"], i)
        check.same(where + "removed", stage["removed"], left[k])
        check.same(where + "ledger_index", stage["ledger_index"], row + k)
        check.same(where + "nll_even", stage["nll_even"], best[0])
        check.same(where + "nll_odd", stage["nll_odd"], best[1])
        check.same(where + "delta_nll_odd", stage["delta_nll_odd"], best[1] - intact[1], abs(intact[1]))
        row += len(left)
        left.pop(k)
    check.same("ppl.json: greedy: number of rows", len(results), row)


def check_csv(check, path, results):
    with open(path, newline="", encoding="utf-8") as f:
        lines = list(csv.DictReader(f))
    check.same("ppl.csv: number of lines", len(lines), len(results))
    pairs = {"delta_nll_ci95": "delta_nll_%s", "delta_nll_ci95_simultaneous": "delta_nll_%s_simultaneous"}
    for line, result in zip(lines, results):
        where = "ppl.csv: " + result["name"]
        for key in ("name", "spec"):
            check.n += 1
            if line[key] != result[key]:
                raise Mismatch("%s: %s: found %r, ppl.json has %r" % (where, key, line[key], result[key]))
        expected = dict(result)
        for key, column in pairs.items():
            lo_hi = expected.pop(key, None) or [None, None]
            expected[column % "lo"], expected[column % "hi"] = lo_hi
        for key, text in line.items():
            if key not in ("name", "spec"):
                check.same("%s: %s" % (where, key), float(text) if text else None, expected[key], relative=0.0)


def verify(directory):
    check = Checker()
    ledger = read_ledger(os.path.join(directory, "ledger.safetensors"))
    rows = read_rows(os.path.join(directory, "rows.jsonl"))
    with open(os.path.join(directory, "ppl.json"), encoding="utf-8") as f:
        ppl = json.load(f)
    protocol = ppl["protocol"]
    results = [ppl["baseline"]] + ppl["orders"]
    n_orders, n_tokens = ledger["nll"].shape
    check.same("ppl.json: number of orders", len(results), n_orders)
    check.same("ppl.json: n_tokens", ppl["n_tokens"], n_tokens)
    check_rows(check, ledger, rows, protocol)
    n_words, n_bytes = count_denominators(ledger, rows)
    check.same("ppl.json: denominators.tokens", protocol["denominators"]["tokens"], n_tokens)
    check.same("ppl.json: denominators.words", protocol["denominators"]["words"], n_words)
    check.same("ppl.json: denominators.bytes", protocol["denominators"]["bytes"], n_bytes)
    figures, unit_nll, unit_tokens, n_body, n_windows = per_order(ledger, rows, protocol, n_words, n_bytes)
    check.same("ppl.json: n_windows", protocol["n_windows"], n_windows)
    check.same("ppl.json: n_units", protocol["n_units"], len(unit_tokens))
    check.same("ppl.json: n_body_tokens", ppl["n_body_tokens"], n_body)
    intervals = [None] * n_orders
    if len(unit_tokens) >= MIN_UNITS and n_orders > 1:
        intervals = [None] + bootstrap(unit_nll, unit_tokens, int(protocol["seed"]), int(protocol["n_resamples"]))
    for i, (result, expected) in enumerate(zip(results, figures)):
        where = "ppl.json: %s: " % result["name"]
        check.same(where + "ledger_index", result["ledger_index"], i)
        for key, value in expected.items():
            scale = abs(figures[0]["nll"]) if key == "delta_nll" and math.isfinite(figures[0]["nll"]) else 0.0
            check.same(where + key, result[key], value, scale)
        for key in ("delta_nll_ci95", "delta_nll_ci95_simultaneous"):
            interval = intervals[i] and intervals[i][key]
            scale = abs(expected["nll"]) if math.isfinite(expected["nll"]) else 0.0
            check.same(where + key, result[key], interval, scale, BOOTSTRAP_RELATIVE)
    if "greedy" in ppl:
        check_greedy(check, ledger, ppl, results)
    check_csv(check, os.path.join(directory, "ppl.csv"), results)
    print("%s: %d figures of %d orders over %d tokens agree" % (directory, check.n, n_orders, n_tokens))
    if os.path.exists(os.path.join(directory, "pos.json")):
        import verify_pos

        verify_pos.verify(sys.modules[__name__], check, directory, ledger, rows, ppl)


def main():
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__.strip(), file=sys.stderr)
        return 0 if len(sys.argv) == 2 else 2
    try:
        verify(sys.argv[1])
    except Mismatch as e:
        print("%s: %s" % (sys.argv[1], e), file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError) as e:
        print("%s: cannot be verified: %s: %s" % (sys.argv[1], type(e).__name__, e), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
