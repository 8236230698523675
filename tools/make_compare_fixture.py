#!/usr/bin/env python3
"""make_compare_fixture.py: writes tests/data/compare: result folders of made-up models with different tokenizers and depths, and
expected.json, what a comparison of them must say, computed here with numpy and scipy and none of the program's code (draws as
engine/base/rng.h and experiments/statistics.h document them, by tools/verify.py).

    python3 tools/make_compare_fixture.py        (numpy, scipy)

    a, a_block     12 layers, tokens of a letter or two with the space before: removal, block:2
    b              5 layers, other tokens, some without their white space, some reaching over a's bounds: removal
    a_exchange, b_exchange   exchange
    other_rows     as a, one row more
The losses are pseudo-random; the common bytes are found by the plainest method: drop tokens that are not whole until none is left."""
import hashlib
import json
import os
import struct
import sys

import numpy as np
from scipy.stats import kendalltau, spearmanr

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import verify  # noqa: E402

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data", "compare")
RESAMPLES = 1000
WORDS = "the cat sat on a mat and saw two old dogs run far past la ni\u00f1a".split()


def make_rows(n):
    rng = np.random.default_rng(5)
    rows = []
    for i in range(n):
        words = rng.choice(WORDS, size=4 + i % 3)
        rows.append({"row": i, "line": i + 1, "kind": "body", "article": i, "n_tokens": 0, "text": " " + " ".join(words) + ("\u3000end" if i == 3 else "")})
    return rows


def spans_a(text):
    """A space and the letter after it, then two letters at a time; characters are never cut."""
    spans, at, i = [], 0, 0
    while i < len(text):
        n = 2 if i + 1 < len(text) and not (text[i + 1] == " ") else 1
        bytes_ = len(text[i : i + n].encode())
        spans.append((at, at + bytes_))
        at += bytes_
        i += n
    return spans


def spans_b(text):
    """Whole words without the white space before them; every seventh word goes with the next one as one token; a character of two
    bytes is two tokens that both span it."""
    spans, words, at = [], [], 0
    for i, c in enumerate(text):
        if c.isspace():
            at += len(c.encode())
            continue
        if i == 0 or text[i - 1].isspace():
            words.append([at, at])
        at += len(c.encode())
        words[-1][1] = at
    raw = text.encode()
    k = 0
    while k < len(words):
        begin, end = words[k]
        if (begin + k) % 7 == 6 and k + 1 < len(words):
            spans.append((begin, words[k + 1][1]))
            k += 2
            continue
        inside = raw[begin:end].decode()
        if "\u00f1" in inside:
            cut = begin + len(inside[: inside.index("\u00f1")].encode())
            spans += [(begin, cut), (cut, cut + 2), (cut, cut + 2), (cut + 2, end)]
        else:
            spans.append((begin, end))
        k += 1
    return spans


def write_ledger(path, columns, n_orders, n_tokens):
    header, offset, blobs = {"__metadata__": {"fingerprint": "made up", "schema": "strata.ledger/1"}}, 0, []
    for name, dtype, array in columns:
        blob = array.tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def order_entry(name, index, layers, n_layers):
    return {"name": name, "ledger_index": index, "order": layers, "steps": [{"layer": i, "part": "both", "joins": False} for i in layers],
            "spec": ",".join(map(str, layers))}


def orders_of(experiment, n_layers):
    intact = list(range(n_layers))
    if experiment == "removal":
        return [("removal_%d" % i, intact[:i] + intact[i + 1 :]) for i in range(n_layers)]
    if experiment == "exchange":
        return [("exchange_%d_%d" % (i, i + 1), intact[:i] + [i + 1, i] + intact[i + 2 :]) for i in range(n_layers - 1)]
    n = int(experiment.split(":")[1])
    return [("block_%d_%d" % (i, i + n - 1), intact[:i] + intact[i + n :]) for i in range(n_layers - n + 1)]


def write_result(name, model, n_layers, experiment, rows, spans_of, seed):
    folder = os.path.join(OUT, name)
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(seed)
    row, begin, end, position = [], [], [], []
    for r in rows:
        spans = spans_of(r["text"])
        r["n_tokens"] = len(spans) - 1
        for k, (s, e) in enumerate(spans[1:], 1):  # no BOS: the first token is not predicted
            row.append(r["row"]), begin.append(s), end.append(e), position.append(k)
    orders, n = orders_of(experiment, n_layers), len(row)
    bump = [2.0] + [0.05 + 0.4 * abs(np.sin(1.7 * i + n_layers)) for i in range(1, len(orders))]
    base = rng.gamma(2.0, 1.0, n)
    nll = np.array([base] + [np.maximum(base + b + rng.normal(0, 0.8, n), 0.01) for b in bump], dtype=np.float32)
    m = len(orders) + 1
    i32 = lambda x: np.array(x, dtype=np.int32)  # noqa: E731
    write_ledger(os.path.join(folder, "ledger.safetensors"), [
        ("byte_start", "I64", np.array(begin, dtype=np.int64)), ("byte_end", "I64", np.array(end, dtype=np.int64)),
        ("nll", "F32", nll), ("kl", "F32", np.zeros((m, n), np.float32)), ("word_start_logp", "F32", np.zeros((m, n), np.float32)),
        ("rank", "I32", np.zeros((m, n), np.int32)), ("top1", "I32", np.zeros((m, n), np.int32)),
        ("token_id", "I32", i32(range(n))), ("row", "I32", i32(row)), ("window", "I32", i32(row)), ("position", "I32", i32(position))], m, n)
    rows_hash = hashlib.sha256()
    with open(os.path.join(folder, "rows.jsonl"), "w", encoding="utf-8") as f:
        for r in rows:
            raw = r["text"].encode()
            rows_hash.update(struct.pack("<Q", len(raw)) + raw)
            f.write(json.dumps(r, ensure_ascii=False) + "\n")
    units = np.array(row)
    unit_nll = np.array([np.bincount(units, x, len(rows)) for x in nll.astype(np.float64)])
    unit_tokens = np.bincount(units, minlength=len(rows)).astype(np.float64)
    intervals = verify.bootstrap(unit_nll, unit_tokens, 0, RESAMPLES)
    means = nll.astype(np.float64).mean(1)

    def full(entry, index):
        x = float(means[index])
        entry.update({"nll": x, "ppl": float(np.exp(x)), "word_ppl": None, "bits_per_byte": None, "top1_accuracy": 1.0, "top5_accuracy": 1.0,
                      "agreement": 1.0, "kl": 0.0, "delta_nll": x - float(means[0]), "delta_nll_ci95": None,
                      "delta_nll_ci95_simultaneous": None})
        if index and intervals[index - 1]:
            entry.update(intervals[index - 1])
        return entry

    with open(os.path.join(folder, "ppl.json"), "w") as f:
        json.dump({"schema": "strata.ppl/1", "model": model, "dataset": "made-up", "experiment": experiment, "n_samples": len(rows),
                   "n_tokens": n, "n_unscored": len(rows),
                   "protocol": {"name": "rows", "split": "test", "context": 64, "stride": 64, "bos": False, "bootstrap_unit": "article",
                                "n_units": len(rows), "n_resamples": RESAMPLES, "seed": 0, "n_windows": len(rows), "n_rows": len(rows),
                                "dtype": "f32", "numerics": "fast", "rope": "hf32",
                                "denominators": {"tokens": n, "words": None, "bytes": None},
                                "hashes": {"weights": hashlib.sha256(model.encode()).hexdigest(), "rows_sha256": rows_hash.hexdigest(),
                                           "ids_sha256": hashlib.sha256(spans_of.__name__.encode() + rows_hash.digest()).hexdigest()}},
                   "baseline": full(order_entry("intact", 0, list(range(n_layers)), n_layers), 0),
                   "orders": [full(order_entry(o, i + 1, layers, n_layers), i + 1) for i, (o, layers) in enumerate(orders)]}, f)
        f.write("\n")
    return {"row": row, "begin": begin, "end": end, "nll": nll.astype(np.float64), "orders": [o for o, _ in orders], "n_layers": n_layers,
            "experiment": experiment, "means": means}


def with_gaps(result, raw):
    """A gap of white space between two tokens of a row belongs to the later one."""
    begin = list(result["begin"])
    for t in range(1, len(begin)):
        r, before = result["row"][t], result["end"][t - 1]
        if result["row"][t - 1] == r and before < begin[t] and raw[r][before : begin[t]].decode().isspace():
            begin[t] = before
    return begin


def depth_of(order, experiment, n_layers):
    numbers = [int(x) for x in order.split("_")[1:]]
    return sum(numbers) / len(numbers) / (n_layers - 1)


def compare(results, rows):
    raw = [r["text"].encode() for r in rows]
    kept = [np.ones(len(t), bool) for t in raw]
    tokens = [list(zip(x["row"], with_gaps(x, raw), x["end"])) for x in results]
    for spans in tokens:
        seen = [np.zeros(len(t), bool) for t in raw]
        for r, s, e in spans:
            seen[r][s:e] = True
        for k, v in zip(kept, seen):
            k &= v
    changed = True
    while changed:
        changed = False
        for spans in tokens:
            for r, s, e in spans:
                if kept[r][s:e].any() and not kept[r][s:e].all():
                    kept[r][s:e] = False
                    changed = True
    n_bytes = int(sum(k.sum() for k in kept))
    n_words = sum(verify.count_words(t.decode(), k) for t, k in zip(raw, kept))
    with_bytes = [r for r in range(len(raw)) if kept[r].any()]
    number = {r: u for u, r in enumerate(with_bytes)}
    unit_bytes = np.array([kept[r].sum() for r in with_bytes], dtype=np.float64)
    out = {"bytes": n_bytes, "words": n_words, "units": len(with_bytes), "models": []}
    unit_bins = []
    for x, spans in zip(results, tokens):
        keep = np.array([bool(kept[r][s:e].all()) for r, s, e in spans])
        units = np.array([number.get(r, 0) for r, _, _ in spans])
        unit_nll = np.array([np.bincount(units[keep], row[keep], len(with_bytes)) for row in x["nll"]])
        sums = unit_nll.sum(1)
        intervals = verify.bootstrap(unit_nll, unit_bytes, 0, RESAMPLES)
        depths = [depth_of(o, x["experiment"], x["n_layers"]) for o in x["orders"]]
        bins = [min(int(d * 10 + 1e-9), 9) for d in depths]
        change = unit_nll[1:] - unit_nll[:1]
        unit_bins.append([change[[i for i, c in enumerate(bins) if c == b]].mean(0) if b in bins else None for b in range(10)])
        out["models"].append({
            "tokens": int(keep.sum()), "bits_per_byte": float(sums[0] / np.log(2) / n_bytes), "word_nll": float(sums[0] / n_words),
            "depth": depths, "bin": bins,
            "delta_bits_per_byte": [float(d / np.log(2) / n_bytes) for d in sums[1:] - sums[0]],
            "ci95": [[float(v) / np.log(2) for v in i["delta_nll_ci95"]] for i in intervals]})
    pairs = []
    for a in range(len(results)):
        for b in range(a + 1, len(results)):
            both = [k for k in range(10) if unit_bins[a][k] is not None and unit_bins[b][k] is not None]
            x, y = np.array([unit_bins[a][k] for k in both]), np.array([unit_bins[b][k] for k in both])
            rhos = np.concatenate([[spearmanr(p, q)[0] for p, q in zip(c @ x.T, c @ y.T)] for c in verify.draw_counts(0, len(with_bytes), RESAMPLES)])
            pairs.append({"a": a, "b": b, "spearman": float(spearmanr(x.sum(1), y.sum(1))[0]), "kendall": float(kendalltau(x.sum(1), y.sum(1))[0]),
                          "n_bins": len(both), "ci95": [float(v) for v in np.quantile(rhos, [0.025, 0.975])]})
    out["pairs"] = pairs
    return out


def main():
    rows = make_rows(24)
    a = write_result("a", "org/Model-A", 12, "removal", rows, spans_a, 1)
    block = write_result("a_block", "org/Model-A", 12, "block:2", rows, spans_a, 2)
    b = write_result("b", "org/Model-B-Instruct", 5, "removal", rows, spans_b, 3)
    ax = write_result("a_exchange", "org/Model-A", 12, "exchange", rows, spans_a, 4)
    bx = write_result("b_exchange", "org/Model-B-Instruct", 5, "exchange", rows, spans_b, 5)
    write_result("other_rows", "org/Model-C", 5, "removal", make_rows(25), spans_a, 6)
    with open(os.path.join(OUT, "expected.json"), "w") as f:
        json.dump({"removal": compare([a, b, block], rows), "exchange": compare([ax, bx], rows), "same": compare([a, block], rows)}, f)
        f.write("\n")


main()
