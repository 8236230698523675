#!/usr/bin/env python3
"""Makes tests/data/golden/truth.txt: losses of tiny models evaluated with 256 bits (mpmath), the truth that --numerics ref64 is held to.

    make_ref64_truth.py        (run from the repository root; needs mpmath, numpy, safetensors)

A line is "MODEL ROW loss loss ...", row R being ids.R of tests/data/models/MODEL/expected.safetensors, losses as the nearest f64.
What the arithmetic is given is what Strata gives it, as f32: weights, epsilon, 1/sqrt(head dim), RoPE's tables (hf32: powers, angles,
cosines and sines each rounded to f32), and the router's weights, which are rounded to f32 once computed. All else is exact to
256 bits. Made with mpmath 1.3, numpy 2, safetensors 0.6.
"""
import json
import numpy as np
from mpmath import cos, exp, log, mp, mpf, pi, power, sin, sqrt, tanh
from safetensors.numpy import load_file

mp.prec = 256
ROOT = "tests/data/models/"


def f32(x):
    """The f32 nearest to x, through f64 unless that is a tie."""
    return np.float32(float(x))


def wide(a):
    a = np.asarray(a, dtype=np.float64)
    return [mpf(float(v)) for v in a] if a.ndim == 1 else [wide(r) for r in a]


def dot(a, b):
    return mp.fdot(zip(a, b))


def linear(x, w, bias=None):
    y = [dot(x, r) for r in w]
    return [a + b for a, b in zip(y, bias)] if bias else y


def rms(x, gain, eps):
    s = 1 / sqrt(dot(x, x) / len(x) + eps)
    return [v * s * g for v, g in zip(x, gain)]


def layer_norm(x, gain, bias, eps):
    mean = sum(x) / len(x)
    s = 1 / sqrt(sum((v - mean) ** 2 for v in x) / len(x) + eps)
    return [(v - mean) * s * g + b for v, g, b in zip(x, gain, bias)]


def rope_tables(theta, dims, n):
    half, out = dims // 2, []
    inv = [np.float32(1) / f32(power(mpf(float(f32(theta))), mpf(float(np.float32(2 * i) / np.float32(dims))))) for i in range(half)]
    for p in range(n):
        angles = [mpf(float(np.float32(p) * v)) for v in inv]
        out.append([(mpf(float(f32(cos(a)))), mpf(float(f32(sin(a))))) for a in angles])
    return out


def rotate(x, table):
    half = len(x) // 2
    first = [x[i] * table[i][0] - x[i + half] * table[i][1] for i in range(half)]
    return first + [x[i + half] * table[i][0] + x[i] * table[i][1] for i in range(half)]


def attention(q, k, v, heads, kv, dh, window):
    scale, out = mpf(float(f32(1 / sqrt(mpf(dh))))), []
    for t in range(len(q)):
        row, first = [], max(0, t - window + 1) if window else 0
        for h in range(heads):
            c = h // (heads // kv) * dh
            z = [scale * dot(q[t][h * dh:(h + 1) * dh], k[j][c:c + dh]) for j in range(first, t + 1)]
            p = [exp(s - max(z)) for s in z]
            row += [dot(p, [v[j][c + i] for j in range(first, t + 1)]) / sum(p) for i in range(dh)]
        out.append(row)
    return out


def silu(x):
    return x / (1 + exp(-x))


def gelu(x):
    return x / 2 * (1 + tanh(sqrt(2 / pi) * (x + mpf("0.044715") * x ** 3)))


def mixture(x, gate, experts, k):
    z = linear(x, gate)
    chosen = sorted(range(len(z)), key=lambda e: (-z[e], e))[:k]
    p = [exp(z[e] - max(z)) for e in chosen]
    y = [mpf(0)] * len(x)
    for e, share in zip(chosen, p):
        w1, w2, w3 = experts[e]
        hidden = [silu(a) * b for a, b in zip(linear(x, w1), linear(x, w3))]
        weight = mpf(float(f32(share / sum(p))))
        y = [a + weight * b for a, b in zip(y, linear(hidden, w2))]
    return y


def add(x, y):
    return [[a + b for a, b in zip(r, s)] for r, s in zip(x, y)]


def llama(ids, c, t):
    heads, kv, d = c["num_attention_heads"], c["num_key_value_heads"], c["hidden_size"]
    dh, eps = c.get("head_dim") or d // heads, mpf(float(f32(c["rms_norm_eps"])))
    theta = c["rope_theta"] if "rope_theta" in c else c["rope_parameters"]["rope_theta"]
    tables, x = rope_tables(theta, dh, len(ids)), [t["model.embed_tokens.weight"][i] for i in ids]
    for layer in range(c["num_hidden_layers"]):
        w = lambda name: t["model.layers.%d.%s.weight" % (layer, name)]  # noqa: E731
        n = [rms(r, w("input_layernorm"), eps) for r in x]
        q, k, v = ([linear(r, w("self_attn.%s_proj" % p)) for r in n] for p in "qkv")
        turn = lambda rows, h: [sum((rotate(r[i * dh:(i + 1) * dh], tables[p]) for i in range(h)), [])  # noqa: E731
                                for p, r in enumerate(rows)]
        a = attention(turn(q, heads), turn(k, kv), v, heads, kv, dh, c.get("sliding_window"))
        x = add(x, [linear(r, w("self_attn.o_proj")) for r in a])
        n = [rms(r, w("post_attention_layernorm"), eps) for r in x]
        if "num_local_experts" in c:
            experts = [[w("block_sparse_moe.experts.%d.w%d" % (e, i)) for i in (1, 2, 3)] for e in range(c["num_local_experts"])]
            y = [mixture(r, w("block_sparse_moe.gate"), experts, c["num_experts_per_tok"]) for r in n]
        else:
            y = [linear([silu(g) * u for g, u in zip(linear(r, w("mlp.gate_proj")), linear(r, w("mlp.up_proj")))],
                        w("mlp.down_proj")) for r in n]
        x = add(x, y)
    head = t.get("lm_head.weight", t["model.embed_tokens.weight"])
    return [linear(rms(r, t["model.norm.weight"], eps), head) for r in x]


def gpt2(ids, c, t):
    t = {k.removeprefix("transformer."): v for k, v in t.items()}
    heads, d, eps = c["n_head"], c["n_embd"], mpf(float(f32(c["layer_norm_epsilon"])))
    turned = lambda w: [list(col) for col in zip(*w)]  # noqa: E731
    x = add([t["wte.weight"][i] for i in ids], t["wpe.weight"][:len(ids)])
    for layer in range(c["n_layer"]):
        w = lambda name: t["h.%d.%s" % (layer, name)]  # noqa: E731
        norm = lambda r, name: layer_norm(r, w(name + ".weight"), w(name + ".bias"), eps)  # noqa: E731
        lin = lambda r, name: linear(r, turned(w(name + ".weight")), w(name + ".bias"))  # noqa: E731
        qkv = [lin(norm(r, "ln_1"), "attn.c_attn") for r in x]
        a = attention([r[:d] for r in qkv], [r[d:2 * d] for r in qkv], [r[2 * d:] for r in qkv], heads, heads, d // heads, None)
        x = add(x, [lin(r, "attn.c_proj") for r in a])
        x = add(x, [lin([gelu(v) for v in lin(norm(r, "ln_2"), "mlp.c_fc")], "mlp.c_proj") for r in x])
    return [linear(layer_norm(r, t["ln_f.weight"], t["ln_f.bias"], eps), t["wte.weight"]) for r in x]


with open("tests/data/golden/truth.txt", "w") as out:
    for name in ("llama", "mistral", "mixtral", "gpt2"):
        config = json.load(open(ROOT + name + "/config.json"))
        weights = {k: wide(v) for k, v in load_file(ROOT + name + "/model.safetensors").items()}
        rows = load_file(ROOT + name + "/expected.safetensors")
        for r in (0, 1):
            ids = [int(i) for i in rows["ids.%d" % r]]
            logits = (gpt2 if name == "gpt2" else llama)(ids, config, weights)
            nll = [log(sum(exp(v - max(z)) for v in z)) + max(z) - z[y] for z, y in zip(logits, ids[1:])]
            out.write("%s %d %s\n" % (name, r, " ".join(float(v).hex() for v in nll)))
