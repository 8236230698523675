#!/usr/bin/env python3
"""control_elasticity.py: how differences in the residual stream grow with the embedding distance of the swapped tokens.

    python3 tools/control_elasticity.py MODEL_DIR pairs.jsonl

For 40 sentences of each of six categories of a pairs.jsonl made for the model, the edited word (lower case, with its leading space) gives
way to nine others written alike: of all such words, sorted by 1 - cosine of embeddings, those at ranks 0, 2, 6, 15, 40, 120, 400, 1500, 5000. Printed: the power
of the distance that sum |difference| grows with (least squares of logs within sentences, pooled), by layer, position and category, and by
how much single dimensions grow faster than in proportion. `strata diff` supposes a power from 0 to 1 where a control lies farther
than its pair (experiments/diff_control.c); tests/data/diff_stats/elasticity.txt is this table for SmolLM2-135M. Needs torch and transformers.
"""
import json
import random
import re
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

CATEGORIES = ["subject", "adjective", "tense", "number", "preposition", "spelling"]
RANKS = [0, 2, 6, 15, 40, 120, 400, 1500, 5000]
POSITIONS = ["edited", "last", "all"]


def measure(folder, path):
    """[(category, distances [9], {position: [L, 9, D]})]: |difference| of each swap at the points 0 to L - 1."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    table = model.get_input_embeddings().weight.detach().numpy()
    unit = table / np.linalg.norm(table, axis=1, keepdims=True)
    names = [tokenizer.convert_ids_to_tokens(i) for i in range(len(table))]
    words = np.array([i for i, name in enumerate(names) if name and re.fullmatch("\u0120[a-z]+", name)])
    rng, by_category, out = random.Random(1), {}, []
    with open(path, encoding="utf-8") as f:
        for line in f:
            pair = json.loads(line)
            by_category.setdefault(pair["category"], []).append(pair)
    for category in CATEGORIES:
        for pair in rng.sample(by_category[category], 40):
            ids, other = (pair["ids_b"], pair["ids_a"]) if pair.get("error_side") == "a" else (pair["ids_a"], pair["ids_b"])
            at = pair["edit_index"]
            if ids[at] not in words:
                continue
            distance = 1 - unit @ unit[ids[at]]
            near = words[(words != ids[at]) & (words != other[at])]
            near = near[np.argsort(distance[near])][RANKS]
            with torch.no_grad():
                states = model(torch.tensor([ids] + [ids[:at] + [int(w)] + ids[at + 1:] for w in near]), output_hidden_states=True)
            x = torch.stack(states.hidden_states[:-1]).numpy()[:, :, at:]
            x = np.abs(x[:, 1:] - x[:, :1])
            out.append((category, distance[near], {"edited": x[:, :, 0], "last": x[:, :, -1], "all": x.mean(2)}))
    return out


def powers(sentences, position):
    """[L]: pooled slopes of log sum |difference| over log distance within sentences."""
    n_layers = sentences[0][2][position].shape[0]
    above, below = np.zeros(n_layers), 0.0
    for _, distance, x in sentences:
        a = np.log(distance) - np.log(distance).mean()
        b = np.log(x[position].sum(2) + 1e-12)
        above += (a * (b - b.mean(1, keepdims=True))).sum(1)
        below += (a * a).sum()
    return above / below


def main():
    if len(sys.argv) != 3:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    sentences = measure(sys.argv[1], sys.argv[2])
    print("# %d sentences with %d swaps each" % (len(sentences), len(RANKS)))
    print("# power of the distance that differences grow with: all layers, then the largest and its layer by category")
    for position in POSITIONS:
        p = powers(sentences, position)
        print("%-8s %s" % (position, " ".join("%.2f" % v for v in p)))
    for category in CATEGORIES:
        mine = [s for s in sentences if s[0] == category]
        for position in POSITIONS:
            p = powers(mine, position)[1:]
            print("%-12s %-8s %.2f at layer %d (%d sentences, nearest %.2f)" % (
                category, position, p.max(), 1 + p.argmax(), len(mine), np.mean([s[1][0] for s in mine])))
    print("# single (layer, dimension)s behind the embedding: mean difference of the three nearest over that of ranks 40, 120, 400 scaled")
    print("# down in proportion; below 1 they grow faster: quantiles 0.001, 0.01, 0.1, 0.5, and the share below 1, below 0.95, below 0.9")
    for position in POSITIONS:
        near = sum(x[position][:, :3].mean(1) for _, _, x in sentences)
        far = sum((x[position][:, 4:7] * (d[:3].mean() / d[4:7])[None, :, None]).mean(1) for _, d, x in sentences)
        r = (near / np.maximum(far, 1e-12))[1:]
        print("%-8s %s  %s" % (position, " ".join("%.2f" % v for v in np.quantile(r, [0.001, 0.01, 0.1, 0.5])),
                               " ".join("%.4f" % (r < v).mean() for v in (1, 0.95, 0.9))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
