"""strata_results.py: a result folder as pandas DataFrames.

    import strata_results as sr
    sr.ppl("results/removal/M_wiki-text-2_n1000")     one line an order, the intact one first
    sr.pos(DIR)                                       one line a (by, value, order)
    sr.words(DIR)                                     one line a word: bytes, tags, tokens
    sr.ledger(DIR)                                    one line a (order, predicted token); orders=[0, 5] for some of them
    sr.tokens(DIR)                                    one line a predicted token: id, row, window, position, byte span
    sr.rows(DIR)                                      the rows evaluated, with their text
    of strata diff:
    sr.diff_curves(DIR)                               one line a (category, position, curve, layer): pairs, control, ratio, lo, hi
    sr.diff_dimensions(DIR)                           the coordinates diff.json lists, by smallest ratio (by="plain": smallest mean)
    sr.diff_cells(DIR, "tense", "last")               one line a (layer, dim) of one category and position, from the tensors
    sr.diff_categories(DIR), sr.diff_contrast(DIR)    pairs, scope and claims; error minus meaning by layer

Intervals become two columns, _lo and _hi. From the shell, `python3 tools/strata_results.py DIR` prints the heads of all.
"""
import json
import os
import struct
import sys

try:
    import numpy as np
    import pandas as pd
except ImportError:
    if __name__ != "__main__":
        raise
    print("strata_results.py: needs numpy and pandas: python3 -m pip install numpy pandas", file=sys.stderr)
    sys.exit(2)

DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "I32": "<i4"}
PER_ORDER = ("nll", "kl", "word_start_logp", "rank", "top1")
PER_TOKEN = ("token_id", "row", "window", "position", "byte_start", "byte_end")


def _json(directory, name):
    with open(os.path.join(directory, name), encoding="utf-8") as f:
        return json.load(f)


def _flat(node, without=()):
    out = {}
    for key, value in node.items():
        if key in without:
            continue
        if key.endswith(("ci95", "maxt95", "simultaneous")):
            out[key + "_lo"], out[key + "_hi"] = value or (None, None)
        else:
            out[key] = value
    return out


def ppl(directory):
    p = _json(directory, "ppl.json")
    return pd.DataFrame([_flat(order, ("steps",)) for order in [p["baseline"]] + p["orders"]])


def pos(directory):
    p = _json(directory, "pos.json")
    names = {o["ledger_index"]: o["name"] for o in [p["baseline"]] + p["orders"]}
    lines = []
    for group in p["groups"]:
        for value in group["values"]:
            head = {"by": group["by"], **{k: value[k] for k in ("value", "n_words", "n_tokens", "n_bytes", "n_units", "is_ranked")}}
            for node in [value["baseline"]] + value["orders"]:
                lines.append({**head, "order": names[node["ledger_index"]], **_flat(node)})
    return pd.DataFrame(lines)


def words(directory):
    return pd.read_csv(os.path.join(directory, "pos_words.csv"), keep_default_na=False,
                       na_values={c: [""] for c in ("posterior", "first_token", "unit")},
                       dtype={"first_token": "Int64", "unit": "Int64"})


def arrays(directory, name="ledger.safetensors"):
    """A file's tensors, mapped: of the ledger {name: array [orders, tokens] or [tokens]}, of diff.safetensors [layers + 1, dims]."""
    path = os.path.join(directory, name)
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
    return {name: np.memmap(path, dtype=DTYPES[t["dtype"]], mode="r", offset=8 + length + t["data_offsets"][0], shape=tuple(t["shape"]))
            for name, t in header.items() if name != "__metadata__"}


def tokens(directory):
    a = arrays(directory)
    return pd.DataFrame({name: a[name] for name in PER_TOKEN})


def ledger(directory, orders=None):
    a = arrays(directory)
    names = ppl(directory)["name"]
    n = a["nll"].shape[1]
    frames = []
    for o in range(a["nll"].shape[0]) if orders is None else orders:
        frame = pd.DataFrame({name: a[name][o] for name in PER_ORDER})
        frame.insert(0, "token", np.arange(n))
        frame.insert(0, "order", names[o])
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def rows(directory):
    return pd.read_json(os.path.join(directory, "rows.jsonl"), lines=True)


def _diff_positions(directory):
    for category in _json(directory, "diff.json")["categories"]:
        for position in category["positions"]:
            yield {"category": category["name"], "position": position["name"]}, category, position


def diff_categories(directory):
    return pd.DataFrame([{**head, **{k: category[k] for k in ("kind", "scope", "n_templates", "n_word_pairs")},
                          **{k: position.get(k) for k in ("n_pairs", "n_claims")}} for head, category, position in _diff_positions(directory)])


def diff_curves(directory):
    lines = []
    for head, _, position in _diff_positions(directory):
        for name, curve in position["curves"].items():
            for layer in range(len(curve["pairs"])):
                lines.append({**head, "curve": name, "layer": layer,
                              **{k: curve[k][layer] if k in curve else None for k in ("pairs", "control", "ratio", "lo", "hi")}})
    return pd.DataFrame(lines).astype({k: float for k in ("pairs", "control", "ratio", "lo", "hi")})


def diff_dimensions(directory, by="ranked"):
    lines = []
    for head, _, position in _diff_positions(directory):
        for cell in position.get(by, []):
            halves = cell.get("half_ratio") or (None, None)
            lines.append({**head, **{k: v for k, v in cell.items() if k != "half_ratio"},
                          **({"half_0": halves[0], "half_1": halves[1]} if by == "ranked" else {})})
    return pd.DataFrame(lines)


def diff_contrast(directory):
    lines = []
    for c in _json(directory, "diff.json").get("contrast", []):
        for layer in range(len(c["difference"])):
            lines.append({"position": c["position"], "curve": c["curve"], "layer": layer,
                          **{k: c[k][layer] for k in ("difference", "lo", "hi", "p")}})
    return pd.DataFrame(lines)


def diff_cells(directory, category, position):
    a = arrays(directory, "diff.safetensors")
    ending = ".%s.%s" % (category, position)
    kinds = [k for k in ("mean", "median", "sd", "normalised", "control", "ratio", "upper", "p") if k + ending in a]
    if not kinds:
        raise KeyError("%s: no tensors of category %s, position %s" % (directory, category, position))
    shape = a[kinds[0] + ending].shape
    layer, dim = np.indices(shape)
    return pd.DataFrame({"layer": layer.ravel(), "dim": dim.ravel(), **{k: np.asarray(a[k + ending]).ravel() for k in kinds}})


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    directory = sys.argv[1]
    frames = [("ppl", ppl), ("ledger", ledger), ("tokens", tokens), ("rows", rows)]
    if os.path.exists(os.path.join(directory, "diff.json")):
        frames = [("diff_categories", diff_categories), ("diff_curves", diff_curves), ("diff_dimensions", diff_dimensions),
                  ("diff_contrast", diff_contrast)]
    if os.path.exists(os.path.join(directory, "pos.json")):
        frames += [("pos", pos), ("words", words)]
    for name, read in frames:
        frame = read(directory)
        print("%s: %d lines, columns %s\n%s\n" % (name, len(frame), ", ".join(frame.columns), frame.head(3).to_string()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
