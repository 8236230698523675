"""Writes a made-up result of `strata diff` (diff.json, diff.safetensors) with known content, for tests/test_diff_figures.c and to look
at figures without a model.

usage: python3 tools/make_diff_result_fixture.py [OUT_DIR [LAYERS HIDDEN]]     (needs numpy, safetensors)
Planted: dimensions 3 and 5 (big ones: every 40th) change 0.4 times as much as their control from layer 1 on; the embedding does not
change at the position `last`, so that its ratio is not known.
"""
import json, os, sys
import numpy as np
from safetensors.numpy import save_file

OUT = sys.argv[1] if len(sys.argv) > 1 else "tests/data/diff_result"
L, D = (int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 3 else (4, 12)
BIG = L > 10
P = L + 1
rng = np.random.default_rng(5)
CATEGORIES = [("subject", "meaning"), ("tense", "error"), ("article", "error")]
if BIG:
    CATEGORIES += [("place", "meaning"), ("adjective", "meaning"), ("preposition", "error"), ("number", "error"), ("negation", "meaning"), ("spelling", "error")]
POSITIONS = ["edited", "next", "last", "onset", "all"] if BIG else ["edited", "last"]


def clean(v):
    return [None if not np.isfinite(x) else float(f"{x:.6g}") for x in v]


def main():
    os.makedirs(OUT, exist_ok=True)
    tensors, categories = {}, []
    sigma = np.exp(rng.normal(0, 0.7, (P, D))) * np.linspace(0.3, 4, P)[:, None]
    for ci, (name, kind) in enumerate(CATEGORIES):
        positions = []
        for pos in POSITIONS:
            control = 0.6 * np.exp(rng.normal(0, 0.35, (P, D))) * np.linspace(1.4, 0.7, P)[:, None]
            true = 0.95 - 0.2 * np.exp(-((np.arange(P) - P / 2) / (P / 5)) ** 2)[:, None] * (kind == "error") + 0 * control
            planted = np.arange(0, D, 40) if BIG else np.array([3, 5])
            true[1:, planted] = 0.4
            ratio = true * np.exp(rng.normal(0, 0.12, (P, D)))
            if pos == "last":
                control[0] = 0
                ratio[0] = np.nan
            mean = np.nan_to_num(ratio, nan=0.0) * control
            se = 0.07 * ratio
            upper, p = ratio + 1.68 * se, np.exp(-np.clip((0.8 - ratio) / se, -0.1, 12) ** 2)
            key = f"{name}.{pos}"
            sd = 0.76 * mean * np.exp(rng.normal(0, 0.15, (P, D)))
            for kind_name, value in {"mean": mean * sigma, "median": mean * sigma * 0.85, "sd": sd * sigma, "normalised": mean,
                                     "control": control, "ratio": ratio, "upper": upper, "p": p}.items():
                tensors[f"{kind_name}.{key}"] = value.astype(np.float32)
            norm = np.linspace(1, 30, P) * (1 + 0.1 * ci)
            curve_ratio = np.nanmean(ratio, axis=1) if pos != "last" else np.concatenate([[np.nan], np.nanmean(ratio[1:], axis=1)])
            norm_c = norm.copy()
            if pos == "last":
                norm_c[0] = 0
            holding = (upper < 0.8) & (p <= 0.01)
            order = np.argsort(np.where(np.isfinite(ratio), ratio, 9).ravel())[:30]
            plain = np.argsort(np.where(mean > 0, mean * sigma, 1e9).ravel())[:30]
            positions.append({
                "name": pos, "n_pairs": 500, "df": 40.5,
                "curves": {"norm": {"pairs": clean(norm_c * np.nan_to_num(curve_ratio)), "control": clean(norm_c), "ratio": clean(curve_ratio),
                                    "lo": clean(curve_ratio - 0.06), "hi": clean(curve_ratio + 0.06), "n": 500},
                           "relative_norm": {"pairs": clean(np.linspace(0.9, 0.3, P)), "control": clean(np.linspace(1, 0.35, P)),
                                             "ratio": clean(np.linspace(0.9, 0.85, P)), "n": 500},
                           "cosine": {"pairs": clean(np.linspace(0.5, 0.97, P)), "control": clean(np.linspace(0.4, 0.95, P)), "n": 500},
                           "logit_lens_kl": {"pairs": clean(np.linspace(0, 2, P)), "control": clean(np.linspace(0, 2.5, P)), "n": 64}},
                "shuffled": clean(norm_c * 1.5), "unrelated": clean(norm_c * 1.9), "floor": clean(norm_c * 0),
                "n_claims": int(holding.sum()), "claims_per_layer": holding.sum(1).tolist(),
                "margins": [{"margin": round(0.05 * k, 2), "n_rejected": int((mean * 1.1 < 0.05 * k).sum())} for k in range(1, 11)],
                "kendall_w": clean(np.linspace(0.2, 0.5, P)), "kendall_w_control": clean(np.linspace(0.2, 0.4, P)),
                "crossfit": {"n_best": 10, "n_chosen": 20, "chosen_ratio": 0.35, "scored_ratio": 0.42, "n_below": 20, "n_bound_below": 19},
                "rotation": [{"what": "ratio below 0.8", "count": 12, "mean": 3.5, "sd": 1.5, "least": 1, "most": 6, "p_more": 0.0476, "p_fewer": 1, "n": 20}],
                "ranked": [{"layer": int(i // D), "dim": int(i % D), "mean": float(mean.flat[i]), "control": float(control.flat[i]),
                            "ratio": float(ratio.flat[i]), "upper": float(upper.flat[i]), "p": float(p.flat[i]),
                            "half_ratio": [float(ratio.flat[i] * 0.95), float(ratio.flat[i] * 1.05)], "claim": bool(holding.flat[i])}
                           for i in order],
                "plain": [{"layer": int(i // D), "dim": int(i % D), "mean_abs": float((mean * sigma).flat[i])} for i in plain]})
        categories.append({"name": name, "kind": kind, "n_pairs": 500, "n_templates": 40, "n_word_pairs": 1 if name == "article" else 60,
                           "scope": "words" if name == "article" else "category", "positions": positions})
    tensors["sigma"] = sigma.astype(np.float32)
    contrast = []
    for pos in POSITIONS:
        d = -0.15 * np.exp(-((np.arange(P) - P / 2) / (P / 5)) ** 2)
        contrast.append({"position": pos, "curve": "norm", "difference": clean(d), "se": clean(0 * d + 0.03), "lo": clean(d - 0.06),
                         "hi": clean(d + 0.06), "p": clean(np.exp(-abs(d) / 0.03))})
    total = sum(p["n_claims"] for c in categories for p in c["positions"])
    result = {"schema": "strata.diff/1", "model": "made-up", "pairs": "pairs.jsonl", "tap": "resid", "order": f"0-{L - 1}", "dtype": "f32",
              "numerics": "fast", "n_layers": L, "hidden": D, "n_pairs": 500 * len(categories), "seed": 0, "bos": False,
              "sigma": {"corpus": "excerpt", "n_positions": 4000, "n_left_out": 64},
              "fdr": {"level": 0.05, "n_tested": len(categories) * len(POSITIONS) * P * D, "n_rejected": total, "threshold": 0.01,
                      "n_rejected_any_dependence": total // 2, "n_claims": total},
              "categories": categories, "contrast": contrast}
    with open(os.path.join(OUT, "diff.json"), "w") as f:
        json.dump(result, f)
        f.write("\n")
    save_file(tensors, os.path.join(OUT, "diff.safetensors"))


main()
