"""verify_pos.py: the part of verify.py that recomputes pos.json and pos_words.csv. Tags and posteriors are taken as pos_words.csv has
them (the tagger is not run); which byte and which token belongs to which word, what is counted, bands, positions, units, every
figure and every interval are computed anew from rows.jsonl and ledger.safetensors.
"""
import csv
import json
import math
import os

import numpy as np

WHITE = {chr(c) for c in [*range(9, 14), *range(28, 33), 0xA0, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x3000]}
POSITIONS = [(10, "1-10"), (30, "11-30"), (100, "31-100"), (300, "101-300"), (math.inf, "301-")]
BANDS = ["1 most frequent", "2", "3", "4", "5 rarest"]
MEASURES = [("nll", "delta_nll", "contrast"), ("word_nll", "delta_word_nll", "word_contrast"),
            ("word_nll_corrected", "delta_word_nll_corrected", "word_contrast_corrected")]
MIN_WORDS, MIN_UNITS, CONFIDENT = 100, 20, 0.9

# Sums of at most 10^6 losses of one sign in f64, in another order: relative 10^6 * 2^-53 = 1.1e-10 at worst, in practice 1e-14.
# Deltas and contrasts are judged by the size of the losses they are differences of.
RELATIVE = 1e-10
BOOTSTRAP_RELATIVE = 1e-9


def white_bytes(text):
    """Per byte of the text: whether it is part of a white-space character."""
    flags = []
    for c in text:
        flags.extend([c in WHITE] * len(c.encode("utf-8", "surrogatepass")))
    return np.array(flags, dtype=bool)


def read_words(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def align(check, mismatch, rows, ledger, words, units_of_window):
    """Judges pos_words.csv; returns, per predicted token, its word (-1: none), and per word its flags at the borders."""
    row_of, window = np.asarray(ledger["row"]), np.asarray(ledger["window"])
    begin, end = np.asarray(ledger["byte_start"]), np.asarray(ledger["byte_end"])
    word_of_token = np.full(len(row_of), -1, dtype=np.int64)
    opens, follows = np.zeros(len(words), dtype=bool), np.zeros(len(words), dtype=bool)
    first_token = np.searchsorted(row_of, np.arange(len(rows) + 1))
    at = 0
    for index, row in enumerate(rows):
        where = "pos_words.csv: row %d" % index
        text = row["text"]
        white = white_bytes(text)
        raw = text.encode("utf-8", "surrogatepass")
        owner = np.full(len(raw), -1, dtype=np.int64)
        first = at
        while at < len(words) and int(words[at]["row"]) == index:
            b, e = int(words[at]["byte_start"]), int(words[at]["byte_end"])
            if not (0 <= b < e <= len(raw)) or (owner[b:e] >= 0).any():
                raise mismatch("%s: word at bytes %d to %d: outside the row or in another word" % (where, b, e))
            owner[b:e] = at
            at += 1
        owner[white] = -1
        if (owner[~white] < 0).any():
            raise mismatch("%s: byte %d is in no word" % (where, int(np.flatnonzero(~white & (owner < 0))[0])))
        unscored, scored_to, seen = set(), 0, {}
        tokens = range(first_token[index], first_token[index + 1])
        for t in tokens:
            if t == tokens[0] or window[t] != window[t - 1]:
                unscored.update(owner[scored_to : begin[t]])
            scored_to = max(scored_to, int(end[t]))
            inside = owner[begin[t] : end[t]]
            inside = inside[inside >= 0]
            if len(inside):
                word_of_token[t] = inside[0]
                seen.setdefault(int(inside[0]), []).append(t)
        unscored.update(owner[scored_to:])

        def is_space(t):
            return begin[t] < end[t] and bool(white[begin[t]])

        place = 0
        for w in range(first, at):
            word, own = words[w], seen.get(w, [])
            here = "%s, byte %s" % (where, word["byte_start"])
            check.same(here + ": n_tokens", int(word["n_tokens"]), len(own))
            if own:
                check.same(here + ": first_token", int(word["first_token"]), int(own[0]))
                check.same(here + ": unit", int(word["unit"]), int(units_of_window[window[own[0]]]))
                last = own[-1]
                opens[w] = is_space(own[0])
                follows[w] = last + 1 < len(window) and window[last + 1] == window[last] and is_space(last + 1)
            status = word["status"]
            if status != "mark":
                expected = next(name for limit, name in POSITIONS if place < limit)
                place += 1
                check.text(here + ": row_position", word["row_position"], expected)
            elif set(raw[int(word["byte_start"]) : int(word["byte_end"])]) != {ord("=")}:
                raise mismatch("%s: a mark that is not =" % here)
            if row.get("kind") == "heading":
                check.text(here + ": status", "heading" if status == "mark" else status, "heading")
            elif status not in ("heading", "mark") or row.get("kind") == "body":
                if b"<unk>" in raw[int(word["byte_start"]) : int(word["byte_end"])]:
                    expected = "unknown"
                else:
                    expected = "unscored" if w in unscored else "counted" if own else "no_token"
                check.text(here + ": status", status, expected)
    if at != len(words):
        raise mismatch("pos_words.csv: line %d: row %s, expected one of %d rows in order" % (at + 2, words[at]["row"], len(rows)))
    return word_of_token, opens, follows


def check_bands(check, rows, words, counted):
    """Fifths of the counted words, forms from the most frequent to the rarest, ties by their bytes."""
    texts = [row["text"].encode("utf-8", "surrogatepass") for row in rows]
    forms = [texts[int(words[w]["row"])][int(words[w]["byte_start"]) : int(words[w]["byte_end"])].lower() for w in counted]
    counts = {}
    for form in forms:
        counts[form] = counts.get(form, 0) + 1
    band_of, before = {}, 0
    for form in sorted(counts, key=lambda f: (-counts[f], f)):
        band_of[form] = 5 * (2 * before + counts[form]) // (2 * len(forms))
        before += counts[form]
    for w, form in zip(counted, forms):
        check.text("pos_words.csv: line %d: frequency_band" % (w + 2), words[w]["frequency_band"], BANDS[band_of[form]])


class Sums:
    """Per order: of every counted word, and of its first token and the others."""

    def __init__(self, ledger, o, word_of_token, opens, follows, n_words, first, last):
        n = len(word_of_token)
        nll = np.asarray(ledger["nll"][o], dtype=np.float64)
        right = np.asarray(ledger["rank"][o]) == 0
        agree = np.asarray(ledger["top1"][o]) == np.asarray(ledger["top1"][0])
        kl = np.asarray(ledger["kl"][o], dtype=np.float64)
        logp = np.asarray(ledger["word_start_logp"][o], dtype=np.float64)
        inside = word_of_token >= 0
        is_first = np.zeros(n, dtype=bool)
        is_first[first[first >= 0]] = True

        def per_word(values, which=inside):
            return np.bincount(word_of_token[which], weights=values[which], minlength=n_words)

        self.parts = {}
        for name, which in (("word", inside), ("word_initial", inside & is_first), ("continuation", inside & ~is_first)):
            self.parts[name] = {
                "loss": per_word(nll, which),
                "n_tokens": per_word(np.ones(n), which),
                "right": per_word(right.astype(float), which),
                "agree": per_word(agree.astype(float), which),
                "kl": per_word(kl, which),
                "bytes": per_word((np.asarray(ledger["byte_end"]) - np.asarray(ledger["byte_start"])).astype(float), which),
                "nonfinite": per_word((~np.isfinite(nll)).astype(float), which),
            }
        self.corrected = self.parts["word"]["loss"].copy()
        self.corrected[opens] += logp[first[opens]]
        self.corrected[follows] -= logp[last[follows] + 1]
        self.first_right = np.zeros(n_words)
        has = first >= 0
        self.first_right[has] = right[first[has]]
        self.all_right = self.parts["word"]["right"] == self.parts["word"]["n_tokens"]


def group_members(by, value, words, counted):
    """Which counted words are of a value; token_kind takes them all."""
    if by in ("all", "token_kind"):
        return counted
    column = {"upos": "upos", "upos_confident": "upos", "xpos": "xpos"}.get(by, by)
    return [w for w in counted if words[w][column] == value and (by != "upos_confident" or float(words[w]["posterior"]) >= CONFIDENT)]


def intervals(draws, estimate):
    finite = draws[np.isfinite(draws)]
    if not math.isfinite(estimate) or len(finite) < 2 or (len(draws) - len(finite)) * 100 > len(draws):
        return None
    return float(np.std(finite, ddof=1)), [float(x) for x in np.quantile(finite, [0.025, 0.975])]


def check_group(check, mismatch, group, sums, words, counted, units, n_units, draw, n_resamples):
    by, is_tokens = group["by"], group["by"] == "token_kind"
    n_orders = len(sums)
    values = group["values"]
    unit_sum, unit_count, scalars, ranked = {}, {}, {}, {}
    for v, value in enumerate(values):
        where = "pos.json: %s %s: " % (by, value["value"])
        members = np.array(group_members(by, value["value"], words, counted), dtype=np.int64)
        part = value["value"] if is_tokens else "word"
        if is_tokens:
            members = members[sums[0].parts[part]["n_tokens"][members] > 0] if len(members) else members
        own_units = units[members]
        counts = sums[0].parts[part]["n_tokens"][members] if len(members) else np.zeros(0)
        n_words, n_tokens, n_bytes = len(members), float(counts.sum()), float(sums[0].parts[part]["bytes"][members].sum())
        unit_count[v, 0] = np.bincount(own_units, weights=counts, minlength=n_units)
        unit_count[v, 1] = np.zeros(n_units) if is_tokens else np.bincount(own_units, minlength=n_units).astype(float)
        present = int((unit_count[v, 0] > 0).sum())
        ranked[v] = present >= MIN_UNITS and (n_tokens if is_tokens else n_words) >= MIN_WORDS
        for key, expected in (("n_words", n_words), ("n_tokens", n_tokens), ("n_bytes", n_bytes), ("n_units", present)):
            check.same(where + key, value[key], expected)
        check.same(where + "is_ranked", int(value["is_ranked"]), int(ranked[v]))
        for o in range(n_orders):
            s, p = sums[o], sums[o].parts[part]
            corrected = s.corrected if part == "word" else np.zeros(len(words))
            for k, column in enumerate((p["loss"], corrected)):
                unit_sum[v, k, o] = np.bincount(own_units, weights=column[members], minlength=n_units)
            w = 0 if is_tokens else n_words

            def share(x, n):
                return float(x[members].sum()) / n if n else math.nan

            loss = share(p["loss"], 1)
            scalars[v, o] = {
                "nll": share(p["loss"], n_tokens),
                "word_nll": share(p["loss"], w),
                "word_nll_corrected": share(corrected, w),
                "token_accuracy": share(p["right"], n_tokens),
                "first_token_accuracy": share(s.first_right, w),
                "word_accuracy": share(s.all_right, w),
                "agreement": share(p["agree"], n_tokens),
                "kl": share(p["kl"], n_tokens),
                "bits_per_byte": loss / math.log(2) / n_bytes if n_bytes else math.nan,
                "n_nonfinite": share(p["nonfinite"], 1) if n_words else 0,
            }
            node = value["orders"][o - 1] if o else value["baseline"]
            check.same(where + "ledger_index", node["ledger_index"], o)
            for key, expected in scalars[v, o].items():
                check.same("%sorder %d: %s" % (where, o, key), node[key], expected, 0.0, RELATIVE)
    if n_orders < 2:
        return
    totals = {(k, o): sum(unit_sum[v, k, o] for v in range(len(values))) for k in range(2) for o in range(n_orders)}
    total_count = {c: sum(unit_count[v, c] for v in range(len(values))) for c in range(2)}
    for m, (level, delta, contrast) in enumerate(MEASURES):
        k, c = (1 if m == 2 else 0), (0 if m == 0 else 1)
        results, max_t = {}, np.zeros(n_resamples)
        for v, value in enumerate(values):
            others = total_count[c] - unit_count[v, c]
            enough = int((unit_count[v, c] > 0).sum()) >= MIN_UNITS
            both = enough and int((others > 0).sum()) >= MIN_UNITS
            own, rest = draw(unit_count[v, c]), draw(others)
            base = [None, None]
            for o in range(n_orders):
                with np.errstate(all="ignore"):
                    other_sum = totals[k, o] - unit_sum[v, k, o]
                    ratios = [draw(unit_sum[v, k, o]) / own, draw(other_sum) / rest]
                    point = [float(np.divide(x.sum(), n.sum())) for x, n in
                             ((unit_sum[v, k, o], unit_count[v, c]), (other_sum, others))]
                if o == 0:
                    base = [ratios, point]
                    continue
                with np.errstate(invalid="ignore"):
                    d_draws, d = ratios[0] - base[0][0], point[0] - base[1][0]
                    c_draws, x = d_draws - (ratios[1] - base[0][1]), d - (point[1] - base[1][1])
                scale = max((abs(p) for p in point + base[1] if math.isfinite(p)), default=0.0)
                d_interval = intervals(d_draws, d) if enough else None
                c_interval = intervals(c_draws, x) if both else None
                if c_interval and c_interval[0] > 0 and ranked[v]:
                    max_t = np.fmax(max_t, np.where(np.isfinite(c_draws), np.abs(c_draws - x) / c_interval[0], 0))
                results[v, o] = (d, d_interval, x, c_interval, scale)
        critical = float(np.quantile(max_t, 0.95))
        for (v, o), (d, d_interval, x, c_interval, scale) in results.items():
            where = "pos.json: %s %s: order %d: " % (by, values[v]["value"], o)
            node = values[v]["orders"][o - 1]
            check.same(where + delta, node[delta], d, scale, RELATIVE)
            check.same(where + delta + "_ci95", node[delta + "_ci95"], d_interval and d_interval[1], scale, BOOTSTRAP_RELATIVE)
            check.same(where + contrast, node[contrast], x, scale, RELATIVE)
            check.same(where + contrast + "_ci95", node[contrast + "_ci95"], c_interval and c_interval[1], scale, BOOTSTRAP_RELATIVE)
            most = c_interval and ranked[v] and [x - critical * c_interval[0], x + critical * c_interval[0]]
            check.same(where + contrast + "_maxt95", node[contrast + "_maxt95"], most or None, scale, BOOTSTRAP_RELATIVE)


def check_csv(check, path, pos):
    names = {0: pos["baseline"]["name"], **{o["ledger_index"]: o["name"] for o in pos["orders"]}}
    with open(path, newline="", encoding="utf-8") as f:
        lines = list(csv.DictReader(f))
    nodes = [(g["by"], v, o) for g in pos["groups"] for v in g["values"] for o in [v["baseline"]] + v["orders"]]
    check.same("pos.csv: number of lines", len(lines), len(nodes))
    for line, (by, value, node) in zip(lines, nodes):
        where = "pos.csv: %s %s %s" % (by, value["value"], line["order"])
        check.text(where + ": by", line["by"], by)
        check.text(where + ": value", line["value"], value["value"])
        check.text(where + ": order", line["order"], names[node["ledger_index"]])
        expected = {k: value[k] for k in ("n_words", "n_tokens", "n_bytes", "n_units")}
        expected["is_ranked"] = int(value["is_ranked"])
        for key, x in node.items():
            if key.endswith("95"):
                stem = key.replace("_ci95", "").replace("95", "")
                expected[stem + "_lo"], expected[stem + "_hi"] = x or [None, None]
            else:
                expected[key] = x
        for key, text in line.items():
            if key not in ("by", "value", "order"):
                check.same("%s: %s" % (where, key), float(text) if text else None, expected.get(key), relative=0.0)


def verify(common, check, directory, ledger, rows, ppl):
    """common: the module verify."""
    with open(os.path.join(directory, "pos.json"), encoding="utf-8") as f:
        pos = json.load(f)
    words = read_words(os.path.join(directory, "pos_words.csv"))
    window, row_of = np.asarray(ledger["window"]), np.asarray(ledger["row"])
    n_windows = int(window[-1]) + 1
    starts = np.searchsorted(window, np.arange(n_windows))
    units_of_window, n_units = common.units_of_windows(row_of[starts], rows, ppl["protocol"]["bootstrap_unit"] == "article")
    check.same("pos.json: n_units", pos["n_units"], n_units)
    word_of_token, opens, follows = align(check, common.Mismatch, rows, ledger, words, units_of_window)
    counted = [i for i, w in enumerate(words) if w["status"] == "counted"]
    check_bands(check, rows, words, counted)
    n_of = {s: sum(w["status"] == s for w in words) for s in ("counted", "heading", "unknown", "unscored", "no_token")}
    body = n_of["counted"] + n_of["unknown"] + n_of["unscored"] + n_of["no_token"]
    expected = {"words": body + n_of["heading"], "body_words": body, "unknown": n_of["unknown"], "without_token": n_of["no_token"],
                "body_words_without_unknown": body - n_of["unknown"], "unscored": n_of["unscored"], "counted": n_of["counted"],
                "tokens_without_word": int((word_of_token < 0).sum())}
    for key, value in expected.items():
        check.same("pos.json: counts." + key, pos["counts"][key], value)
    units = np.array([int(w["unit"]) if w["unit"] else 0 for w in words], dtype=np.int64)
    first = np.array([int(w["first_token"]) if w["first_token"] else -1 for w in words], dtype=np.int64)
    last = np.full(len(words), -1, dtype=np.int64)
    inside = np.flatnonzero(word_of_token >= 0)
    last[word_of_token[inside]] = inside  # ascending: the last one stays
    sums = [Sums(ledger, o, word_of_token, opens, follows, len(words), first, last) for o in range(ledger["nll"].shape[0])]
    n_resamples = int(pos["n_resamples"])
    counts = np.concatenate(list(common.draw_counts(int(pos["seed"]), n_units, n_resamples)))
    seen = check.n
    for group in pos["groups"]:
        check_group(check, common.Mismatch, group, sums, words, counted, units, n_units, lambda x: counts @ x, n_resamples)
    check_csv(check, os.path.join(directory, "pos.csv"), pos)
    print("%s: %d figures of pos.json agree, over %d words aligned anew" % (directory, check.n - seen, len(words)))
