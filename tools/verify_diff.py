#!/usr/bin/env python3
"""verify_diff.py: recomputes what `strata diff` reports from its tensors and saved pairs, in numpy, sharing no code with the program.

    python3 tools/verify_diff.py RESULT_DIR

Read: diff.json, diff.safetensors, pairs.jsonl and, if the run had --save_pairs, pairs.safetensors. Judged
  always       normalised = mean / sigma; the ranked and plain lists are the smallest cells of the ratio and mean tensors and say
               what the tensors say; claims follow from p, bound, both halves and how far the control lies; claims_per_layer adds up; the contrast is the middle of the
               weighted differences of the curves' ratios against either bound of the control, with the larger Welch standard error; diff.csv and curves.csv say what diff.json says
  saved pairs  for every category and position class of which all pairs were saved: mean, sd, median, final_norm, and the curves norm
               (mean over pairs) from the differences themselves
Left out: controls and sigma (their streams are not kept), p and bounds (tests/test_diff_stats.c holds them against scipy).

Prints what was verified and exits 0; exits 1 naming the first figure that differs; exits 2 when the folder cannot be read.
"""
import csv
import json
import math
import os
import struct
import sys

try:
    import numpy as np
except ImportError:
    print("verify_diff.py: needs numpy: python3 -m pip install numpy", file=sys.stderr)
    sys.exit(2)

# Tensors are F32 of f64 sums over F32 streams: one rounding (2^-24) of the result, and sums of n terms in another order in f64. A cell
# near 0 among larger ones is a mean of exact F32 differences, so relative bounds hold for each cell.
RELATIVE = 2.0**-23
# The median comes from a sketch of at most 64 values exactly, then bins; diff.json says the largest error in sigma.
EXACT_MEDIAN = 64


class Differs(Exception):
    pass


def tensors(path):
    with open(path, "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
    return {name: np.memmap(path, dtype="<f4", mode="r", offset=8 + length + t["data_offsets"][0], shape=tuple(t["shape"]))
            for name, t in header.items() if name != "__metadata__" and t["dtype"] == "F32" and min(t["shape"]) > 0}


def close(what, got, want, relative=RELATIVE, absolute=0.0):
    got, want = np.asarray(got, float), np.asarray(want, float)
    bad = ~((np.isnan(got) & np.isnan(want)) | (np.abs(got - want) <= relative * np.abs(want) + absolute) | (got == want))
    if np.any(bad):
        at = np.unravel_index(int(np.argmax(bad)), bad.shape) if bad.shape else ()
        raise Differs("%s%s: reported %.9g, recomputed %.9g" % (what, list(map(int, at)) or "", got[at], want[at]))


def number(x):
    return math.nan if x is None else float(x)


def smallest(values, mean, n):
    """Cells by value, ties by index; at the embedding those without any difference do not count."""
    counts = np.isfinite(values)
    counts[0] &= mean[0] > 0
    order = np.argsort(np.where(counts, values, np.inf).ravel(), kind="stable")
    return order[:min(n, int(counts.sum()))]


def check_lists(d, t, where, position):
    cat, pos = where
    key = "%s.%s" % where
    mean, sigma = np.asarray(t["mean." + key], float), np.asarray(t["sigma"], float)
    D, done = mean.shape[1], 0
    for name, tensor in (("plain", "mean."), ("ranked", "ratio.")):
        if name not in position or tensor + key not in t:
            continue
        values = np.asarray(t[tensor + key], float)
        cells = position[name]
        want = smallest(values, mean, len(cells))
        got = [c["layer"] * D + c["dim"] for c in cells]
        if len(want) < len(cells):
            raise Differs("%s %s %s: %d cells listed, %d there" % (cat, pos, name, len(cells), len(want)))
        # Cells that are equal in F32 may stand in either order, so values are compared, each cell once.
        close("%s %s %s" % (cat, pos, name), values.ravel()[got], values.ravel()[want], 2 * RELATIVE)
        if len(set(got)) != len(got):
            raise Differs("%s %s %s: a cell twice" % (cat, pos, name))
        for c in cells:
            at = (c["layer"], c["dim"])
            close("%s %s %s mean_abs" % (cat, pos, name), number(c["mean_abs"]), mean[at])
            if name == "ranked":
                for field in ("control", "ratio", "upper", "p"):
                    if c[field] is None and not math.isfinite(t["%s.%s" % (field, key)][at]):
                        continue  # JSON has no infinity
                    # p below F32's least denormal is 0 there.
                    close("%s %s %s %s" % (cat, pos, name, field), number(c[field]), t["%s.%s" % (field, key)][at], RELATIVE, 1e-44)
                halves = [number(h) for h in c["half_ratio"]]
                far = next(k.get("control_is_far", False) for k in d["categories"] if k["name"] == cat)
                claim = not far and number(c["p"]) <= d["fdr"]["threshold"] and number(c["upper"]) < 0.8 and max(halves) < 0.8 and not any(map(math.isnan, halves))
                if claim != c["claim"]:
                    raise Differs("%s %s L%d:%d: claim is %s, by its own numbers %s" % (cat, pos, c["layer"], c["dim"], c["claim"], claim))
            done += 1
    with np.errstate(all="ignore"):
        close("normalised." + key, t["normalised." + key], np.where(sigma > 0, mean / sigma, np.nan), 3 * RELATIVE)
    return done


def check_claims(d):
    total = 0
    for c in d["categories"]:
        for p in c["positions"]:
            if "n_claims" not in p:
                continue
            total += p["n_claims"]
            # Points of the stream; n_claims counts the one after the final norm too.
            if sum(p["claims_per_layer"]) > p["n_claims"]:
                raise Differs("%s %s: claims_per_layer adds up to %d of %d" % (c["name"], p["name"], sum(p["claims_per_layer"]), p["n_claims"]))
    if "fdr" in d and total != d["fdr"]["n_claims"]:
        raise Differs("fdr.n_claims: reported %d, by positions %d" % (d["fdr"]["n_claims"], total))
    return total


def contrast_bound(sides, layer, largest):
    """Errors against the control's one bound, meanings against the other: value and variance."""
    value = variance = 0.0
    for sign, kind in ((1, "error"), (-1, "meaning")):
        end = "" if (sign > 0) == largest else "_least"
        known = [(number(c["ratio" + end][layer]), number(c["se" + end][layer])) for c in sides[kind]]
        known = [(r, s) for r, s in known if not math.isnan(r) and not math.isnan(s)]
        if not known:
            return math.nan, math.nan
        value += sign * sum(r for r, _ in known) / len(known)
        variance += sum(s * s for _, s in known) / len(known) ** 2
    return value, variance


def check_contrast(d):
    done = 0
    for x in d.get("contrast", []):
        sides, names = {"error": [], "meaning": []}, {"error": [], "meaning": []}
        for c in d["categories"]:
            for p in c["positions"]:
                if p["name"] == x["position"] and c["kind"] in sides and p["scope"] == "category" and p.get("n_control") and p.get("df") is not None:
                    sides[c["kind"]].append(p["curves"][x["curve"]])
                    names[c["kind"]].append(c["name"])
        if names != {"error": x["errors"], "meaning": x["meanings"]}:
            raise Differs("contrast %s: of %s, recomputed %s" % (x["position"], (x["errors"], x["meanings"]), names))
        for layer in range(len(x["difference"])):
            (least, v_least), (most, v_most) = (contrast_bound(sides, layer, largest) for largest in (False, True))
            if x["difference"][layer] is None and (math.isnan(least + most) or v_least == 0 or v_most == 0):
                continue
            name = "contrast %s %s [%d]" % (x["position"], x["curve"], layer)
            close(name, number(x["difference"][layer]), (least + most) / 2, 1e-9, 1e-12)
            close(name + " se", number(x["se"][layer]), math.sqrt(max(v_least, v_most)), 1e-9)
            if least > most + 1e-9:
                raise Differs("%s: the least %.9g lies over the largest %.9g" % (name, least, most))
            done += 1
    return done


def classes_of(pair):
    n, e = len(pair["ids_a"]), pair["edit_index"]
    at = {"edited": [0], "last": [n - 1 - e], "all": list(range(n - e))}
    if e + 1 < n:
        at["next"] = [1]
    if pair.get("onset_index") is not None and pair["onset_index"] >= e:
        at["onset"] = [pair["onset_index"] - e]
    return at


def check_pairs(folder, d, t):
    path = os.path.join(folder, "pairs.safetensors")
    if not os.path.exists(path):
        return None
    saved = tensors(path)
    with open(os.path.join(folder, "pairs.jsonl"), encoding="utf-8") as f:
        pairs = [json.loads(line) for line in f if line.strip()]
    rows, norms = {}, {}
    for i, pair in enumerate(pairs):
        name = "pair.%d" % i
        if name not in saved:
            continue
        x = np.asarray(saved[name], np.float64)
        category = pair["category"] + ("_first" if pair["edit_index"] == 0 else "")
        for position, at in classes_of(pair).items():
            rows.setdefault((category, position), []).append(np.abs(x[:, at]).mean(1))
            norms.setdefault((category, position), []).append(np.sqrt((x[:, at] ** 2).sum(2)).mean(1))
    done = skipped = 0
    for c in d["categories"]:
        for p in c["positions"]:
            where = (c["name"], p["name"])
            key = "%s.%s" % where
            if len(rows.get(where, [])) != p["n_pairs"]:
                skipped += 1
                continue
            v = np.stack(rows[where])
            # The class "all" is a mean over positions, summed in F32 by the program: n roundings at most.
            mean = v[:, :-1].mean(0)
            close("mean." + key, t["mean." + key], mean, 8 * RELATIVE)
            close("final_norm." + key, t["final_norm." + key], v[:, -1].mean(0), 8 * RELATIVE)
            if len(v) > 1:  # sums of squares minus the square of the sum, in f64
                close("sd." + key, t["sd." + key], v[:, :-1].std(0, ddof=1), 1e-5, 1e-6 * float(np.max(mean)))
            if len(v) <= EXACT_MEDIAN:
                close("median." + key, t["median." + key], np.median(v[:, :-1], 0), 8 * RELATIVE)
            close("curve norm " + key, [number(x) for x in p["curves"]["norm"]["pairs"]], np.stack(norms[where])[:, :-1].mean(0), 1e-5)
            done += 1
    return done, skipped


def check_csv(folder, d):
    curves = {(c["name"], p["name"]): p["curves"] for c in d["categories"] for p in c["positions"]}
    done = 0
    with open(os.path.join(folder, "curves.csv"), encoding="utf-8", newline="") as f:
        for line in csv.DictReader(f):
            curve = curves[line["category"], line["position"]].get(line["curve"])
            if curve is None or not line["layer"].isdigit() or int(line["layer"]) >= len(curve["pairs"]):
                continue
            for field in ("pairs", "control", "ratio", "lo", "hi"):
                value = number(line.get(field) or None)
                want = curve[field][int(line["layer"])] if field in curve else None
                if want is not None or math.isfinite(value) and field in curve:  # JSON has no infinity
                    close("curves.csv %s %s %s" % (line["category"], line["position"], field),
                          value, number(want), 1e-12)
            done += 1
    return done


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 2
    folder = sys.argv[1]
    try:
        with open(os.path.join(folder, "diff.json"), encoding="utf-8") as f:
            d = json.load(f)
        t = tensors(os.path.join(folder, "diff.safetensors"))
    except (OSError, ValueError, KeyError) as error:
        print("%s: %s" % (folder, error), file=sys.stderr)
        return 2
    try:
        n_cells = sum(check_lists(d, t, (c["name"], p["name"]), p) for c in d["categories"] for p in c["positions"])
        n_claims = check_claims(d)
        n_contrasts = check_contrast(d)
        pairs = check_pairs(folder, d, t)
        n_lines = check_csv(folder, d)
    except Differs as error:
        print(error, file=sys.stderr)
        return 1
    print("verified: %d listed cells, %d claims, %d points of contrasts, %d lines of curves.csv" % (n_cells, n_claims, n_contrasts, n_lines))
    if pairs:
        print("verified from saved pairs: %d categories and positions (%d more were not saved whole)" % pairs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
