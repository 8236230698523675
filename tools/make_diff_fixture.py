#!/usr/bin/env python3
"""Makes tests/data/diff: pairs of ids for tiny models without a tokenizer, and what numpy makes of transformers' hidden states.

    python tools/make_diff_fixture.py [MODEL ...]          (transformers, torch, numpy, safetensors; the tiny models are in tests/data/models)

NAME.jsonl are 50 pairs in three categories, corpus.jsonl rows of ids for sigma, NAME.safetensors the expected
  mean|median|sd.CATEGORY.POSITION [L+1, D]   of |hidden_b - hidden_a| (f64, kept as f32), index L before the final norm
  final_norm.CATEGORY.POSITION [D], sigma and mad [L+1, D] over positions 1-64 of the corpus, mad times 1.4826.
"""
import json
import os
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import AutoModelForCausalLM

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data")
MODELS = ["llama", "llama-dynamic", "mistral", "gpt2"]
VOCAB = 96  # ids that all of them have
CATEGORIES = [("tense", "b"), ("place", None), ("article", "a")]


def make_pairs(rng):
    pairs = []
    for i in range(50):
        category, side = CATEGORIES[i % 3]
        n = int(rng.integers(6, 21))
        edit = 0 if i % 12 == 5 else int(rng.integers(1, n))
        a = rng.integers(3, VOCAB, n).tolist()
        b = list(a)
        b[edit] = int((a[edit] - 3 + rng.integers(1, VOCAB - 3)) % (VOCAB - 3) + 3)
        onset = int(rng.integers(edit, n)) if side and i % 2 == 0 else None
        pairs.append({"a": " ".join(f"w{x}" for x in a), "b": " ".join(f"w{x}" for x in b), "category": category,
                      "template": f"t{i % 7}", "words": [f"w{a[edit]}", f"w{b[edit]}"], "ids_a": a, "ids_b": b,
                      "edit_index": edit, "onset_index": onset, "error_side": side})
    return pairs


class Hidden:
    """Hidden states of one row of ids: the stream before the final norm at each layer, and after the norm."""

    def __init__(self, path):
        self.model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64, attn_implementation="eager").eval()
        body = self.model.base_model
        norm = body.ln_f if hasattr(body, "ln_f") else body.norm
        norm.register_forward_pre_hook(lambda module, args: setattr(self, "last", args[0][0].numpy()))

    def __call__(self, ids):
        for module in self.model.modules():  # dynamic RoPE remembers the longest row it saw: each row is the first here
            if hasattr(module, "max_seq_len_cached"):
                module.max_seq_len_cached = self.model.config.max_position_embeddings
                module.register_buffer("inv_freq", module.original_inv_freq.clone(), persistent=False)
        with torch.no_grad():
            out = self.model(torch.tensor([ids]), output_hidden_states=True, use_cache=False)
        states = [h[0].numpy() for h in out.hidden_states]
        return np.stack(states[:-1] + [self.last]), states[-1]


def main():
    folder = os.path.join(ROOT, "diff")
    os.makedirs(folder, exist_ok=True)
    rng = np.random.default_rng(20)
    corpus = [rng.integers(3, VOCAB, int(n)).tolist() for n in rng.integers(17, 31, 40)]
    with open(os.path.join(folder, "corpus.jsonl"), "w") as f:
        f.writelines(json.dumps({"ids": row}) + "\n" for row in corpus)
    pairs = make_pairs(rng)
    with open(os.path.join(folder, "pairs.jsonl"), "w") as f:
        f.writelines(json.dumps(p) + "\n" for p in pairs)
    for name in sys.argv[1:] or MODELS:
        hidden = Hidden(os.path.join(ROOT, "models", name))
        rows, final = {}, {}
        for p in pairs:
            (a, a_final), (b, b_final) = hidden(p["ids_a"]), hidden(p["ids_b"])
            d, f, e = np.abs(b - a), np.abs(b_final - a_final), p["edit_index"]
            n = len(p["ids_a"])
            places = {"edited": [e], "last": [n - 1], "all": list(range(e, n))}
            if e + 1 < n:
                places["next"] = [e + 1]
            if p["onset_index"] is not None:
                places["onset"] = [p["onset_index"]]
            key = p["category"] + ("_first" if e == 0 else "")
            for k, at in places.items():
                rows.setdefault((key, k), []).append(d[:, at].mean(1))
                final.setdefault((key, k), []).append(f[at].mean(0))
        out = {}
        for (c, k), v in rows.items():
            v = np.stack(v)
            out[f"mean.{c}.{k}"] = v.mean(0)
            out[f"median.{c}.{k}"] = np.median(v, 0)
            if len(v) > 1:
                out[f"sd.{c}.{k}"] = v.std(0, ddof=1)
            out[f"final_norm.{c}.{k}"] = np.stack(final[c, k]).mean(0)
        x = np.concatenate([hidden(row)[0][:, 1:65] for row in corpus], axis=1)
        out["sigma"] = x.std(1, ddof=1)
        out["mad"] = 1.482602218505602 * np.median(np.abs(x - np.median(x, 1, keepdims=True)), 1)
        out["corpus_mean"] = x.mean(1)
        save_file({k: v.astype(np.float32) for k, v in out.items()}, os.path.join(folder, name + ".safetensors"))


if __name__ == "__main__":
    main()
