"""Writes tests/data/diff_stats/expected.json: Study B's estimates from pairs one by one, as numpy and scipy give them, for
tests/test_diff_stats.c: leave-one-cluster-out refits instead of sums, bounds by root finding instead of the quadratic.

usage: python3 tools/make_diff_stats_fixture.py [OUT_DIR]          (needs numpy, scipy)
"""
import json, os, sys
import numpy as np
from scipy import optimize, stats

OUT = sys.argv[1] if len(sys.argv) > 1 else "tests/data/diff_stats"
rng = np.random.default_rng(20)


def jackknife(z, ids):
    """Variance of the mean by leaving out one cluster at a time, and the summed cubes of the estimator's shares."""
    groups = np.unique(ids)
    left = np.array([z[ids != g].mean() for g in groups])
    v = (len(groups) - 1) / len(groups) * ((left - z.mean()) ** 2).sum()
    cubes = sum((z[ids == g].sum() / len(z) - (ids == g).mean() * z.mean()) ** 3 for g in groups)
    return v, cubes * len(groups) ** 2 / ((len(groups) - 1) * (len(groups) - 2))


def degrees(ids):
    """Satterthwaite: the variance is a quadratic form in independent pairs; moments of the form from its matrix over pairs."""
    n, groups = len(ids), np.unique(ids)
    rows = np.array([(ids != g) / (ids != g).sum() - 1 / n for g in groups])  # estimate without g, minus the estimate
    m = (len(groups) - 1) / len(groups) * rows.T @ rows
    m = m - m.mean(0) - m.mean(1)[:, None] + m.mean()  # acts on centred data anyway
    return np.trace(m) ** 2 / (m * m).sum()


def parts(y, x, r, t, w):
    z = y - r * x
    vt, kt = jackknife(z, t)
    if w is None:
        return max(vt, 0), max(kt, 0)
    vw, kw = jackknife(z, w)
    vp = z.var(ddof=1) / len(z)
    return max(vt, vw, vt + vw - vp), max(kt, 0) + max(kw, 0)


def hall(t, k):
    return t + k * t * t / 3 + k * k * t**3 / 27 + k / 6


def above(f, r):
    """Where f falls below 0; None: nowhere, the bound is infinite."""
    return None if f(1e9) > 0 else optimize.brentq(f, r + 1e-9, 1e9 if f(50) > 0 else 50, xtol=1e-14)


def cell(y, x, t, w):
    df = min(degrees(t), degrees(w)) if w is not None else degrees(t)
    r = y.mean() / x.mean()
    v, k = parts(y, x, r, t, w)
    skew = k / v**1.5

    def p_at(rho):
        by_mean = (y.mean() - rho * x.mean()) / np.sqrt(parts(y, x, rho, t, w)[0])
        by_log = np.log(r / rho) / (np.sqrt(v) / x.mean() / r)
        return stats.t.cdf(hall(max(by_mean, by_log), skew), df)

    def lower_at(rho):
        return stats.t.sf((y.mean() - rho * x.mean()) / np.sqrt(parts(y, x, rho, t, w)[0]), df)

    v0, k0 = parts(y, x, 0, t, w)
    s0 = k0 / v0**1.5
    q = optimize.brentq(lambda u: hall(u, s0) - stats.t.ppf(0.05, df), -1000, 0)
    return {"mean": y.mean(), "control": x.mean(), "ratio": r, "se": np.sqrt(v) / x.mean(), "df": df, "p": p_at(0.8),
            "upper": above(lambda u: p_at(u) - 0.05, r), "hi": above(lambda u: p_at(u) - 0.025, r),
            "lo": optimize.brentq(lambda u: lower_at(u) - 0.025, 1e-9, r, xtol=1e-14),
            "mean_se": np.sqrt(v0), "mean_skew": s0, "mean_upper": y.mean() - q * np.sqrt(v0),
            "mean_p": stats.t.cdf(hall((y.mean() - 0.3) / np.sqrt(v0), s0), df)}


def case(n, n_templates, n_words, D, two_ways):
    t = np.concatenate([np.arange(n_templates), rng.integers(0, n_templates, n - n_templates) ** 2 // n_templates])
    w = np.concatenate([np.arange(n_words), rng.integers(0, n_words, n - n_words)])
    rng.shuffle(w)
    half = rng.permutation(np.arange(n_templates) % 2)
    eff_t, eff_w = rng.standard_normal((n_templates, D)), rng.standard_normal((n_words, D))
    y = np.abs(rng.standard_normal((n, D))) * np.exp(0.4 * eff_t[t] + 0.3 * eff_w[w]) * np.linspace(0.2, 1, D)
    x = np.abs(rng.standard_normal((n, D))) * np.exp(0.2 * eff_t[t])
    y, x = np.round(y, 6), np.round(x, 6)
    cells = []
    for d in range(D):
        c = cell(y[:, d], x[:, d], t, w if two_ways else None)
        for h in range(2):
            m = half[t] == h
            one = cell(y[m, d], x[m, d], t[m], w[m] if two_ways else None)
            c[f"half{h}"] = [one["ratio"], one["upper"], one["p"]]
        cells.append(c)
    return {"template": t.tolist(), "word": w.tolist(), "half": half.tolist(), "y": y.T.tolist(), "x": x.T.tolist(),
            "two_ways": two_ways, "cells": cells}


def main():
    os.makedirs(OUT, exist_ok=True)
    grid = [(t, df) for t in (-40, -5.5, -2, -0.3, 0, 0.7, 3, 12) for df in (1, 2.5, 7, 19, 63.2, 1000)]
    ps = [(p, df) for p in (1e-12, 1e-6, 0.001, 0.05, 0.4, 0.5, 0.9, 0.975) for df in (1, 3.7, 19, 300)]
    ranked = rng.integers(0, 9, (5, 12)).astype(float) + np.linspace(0, 4, 12).round()
    m, n = ranked.shape
    r = np.array([stats.rankdata(v) for v in ranked])
    ties = sum(sum(c**3 - c for c in np.unique(v, return_counts=True)[1]) for v in ranked)
    fdr_p = np.concatenate([rng.uniform(size=60), rng.uniform(size=25) ** 6])
    fdr = {kind: (stats.false_discovery_control(fdr_p, method=kind) <= 0.05).tolist() for kind in ("bh", "by")}
    terms = [(1 / 2, 0.9, 0.05, 19.0), (1 / 2, 0.8, 0.08, 25.0), (-1.0, 0.6, 0.04, 30.0)]
    se = np.sqrt(sum((w * s) ** 2 for w, _, s, _ in terms))
    df = se**4 / sum((w * s) ** 4 / d for w, _, s, d in terms)
    diff = sum(w * q for w, q, _, _ in terms)
    out = {"t_cdf": [[t, d, stats.t.cdf(t, d)] for t, d in grid], "t_quantile": [[p, d, stats.t.ppf(p, d)] for p, d in ps],
           "kendall": {"x": ranked.tolist(), "w": 12 * ((r.sum(0) - m * (n + 1) / 2) ** 2).sum() / (m * m * (n**3 - n) - m * ties)},
           "fdr": {"p": fdr_p.tolist(), **fdr},
           "contrast": {"terms": terms, "difference": diff, "se": se, "df": df, "p": 2 * stats.t.sf(abs(diff) / se, df),
                        "lo": diff - stats.t.ppf(0.975, df) * se},
           "cases": [case(150, 24, 26, 4, True), case(120, 18, 3, 3, False)]}
    with open(os.path.join(OUT, "expected.json"), "w") as f:
        json.dump(out, f)
        f.write("\n")


main()
