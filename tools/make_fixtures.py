#!/usr/bin/env python3
"""Makes tests/data/models: tiny random models in every supported family with what transformers computes for them.

    make_fixtures.py [NAME ...]        (no names: all; run from the repository root)

Each tests/data/models/NAME holds config.json, the weights (safetensors, or model.gguf) and expected.safetensors:
    ids.R                 I32 [T]          row R of token ids
    nll.intact.R          F32 [T-1]        loss of each predicted token
    nll.removal_I.R       F32 [T-1]        layer I left out
    nll.exchange_I_J.R    F32 [T-1]        layers I and J = I+1 exchanged
    hidden.R              F32 [L+2, T, D]  embedding output, output of each layer, output of the final norm
computed in f32 (weights are read from the files just written and widened), eager attention, no cache. A layer keeps its own
window and mask wherever it goes. Dynamic RoPE starts afresh for each row. tests/data/models/rope holds configurations with
the cosines and sines that transformers makes of them; dequantised.json beside a GGUF file the SHA-256 of each tensor's values as f32.

Made with transformers 5.23, torch 2.15 (CPU), gguf 0.19.
"""

import hashlib
import json
import os
import shutil
import sys

import numpy as np
import torch
from safetensors.numpy import save_file
from transformers import (AutoModelForCausalLM, GPT2Config, LlamaConfig, MistralConfig, MixtralConfig)
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

ROOT = "tests/data/models"
LENGTHS = (5, 13, 24)
torch.manual_seed(0)
torch.set_num_threads(1)

SMALL = dict(vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2)
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)

MODELS = {
    # name: (configuration, dtype of the file, old dialect of config.json, size of a shard)
    "llama": (LlamaConfig(**SMALL, tie_word_embeddings=True), torch.float32, False, None),
    "llama-bias": (LlamaConfig(**{**SMALL, "hidden_size": 40, "num_attention_heads": 5, "num_key_value_heads": 1,
                                  "head_dim": 6, "vocab_size": 131}, attention_bias=True, mlp_bias=True,
                               rms_norm_eps=1e-5), torch.float32, False, None),
    "llama31": (LlamaConfig(**{**SMALL, "num_hidden_layers": 4}, rope_parameters=LLAMA3), torch.bfloat16, True, "30KB"),
    "llama-yarn": (LlamaConfig(**SMALL, rope_parameters=YARN, tie_word_embeddings=True), torch.bfloat16, False, None),
    "llama-linear": (LlamaConfig(**SMALL, rope_parameters=dict(rope_type="linear", rope_theta=500.0, factor=2.5),
                                 tie_word_embeddings=True), torch.float16, True, None),
    "llama-dynamic": (LlamaConfig(**{**SMALL, "max_position_embeddings": 8},
                                  rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=3.0),
                                  tie_word_embeddings=True), torch.bfloat16, True, None),
    "mistral": (MistralConfig(**SMALL, sliding_window=7, head_dim=8), torch.float32, True, None),
    "mixtral": (MixtralConfig(**SMALL, num_local_experts=4, num_experts_per_tok=2, sliding_window=None),
                torch.float16, False, None),
    "gpt2": (GPT2Config(vocab_size=128, n_positions=32, n_embd=32, n_layer=3, n_head=4, bos_token_id=1, eos_token_id=2),
             torch.float32, False, None),
}


def randomise(model, seed):
    """Weights large enough that attention is far from uniform and every gain and bias shows."""
    g = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        x = torch.randn(p.shape, generator=g)
        norm = any(s in name for s in ("norm", "ln_"))
        if norm and name.endswith("weight"):
            p.data = 1 + 0.3 * x
        elif name.endswith("bias"):
            p.data = 0.3 * x
        elif "embed" in name or "wte" in name or "wpe" in name:
            p.data = 0.6 * x
        else:
            p.data = 0.28 * x


def base_of(model):
    """The inner model, the name of its list of layers, its final norm."""
    if hasattr(model, "transformer"):
        return model.transformer, "h", model.transformer.ln_f
    return model.model, "layers", model.model.norm


def losses(model, ids):
    """(nll of each predicted token, [embedding, layers..., final norm]) of one row."""
    inner, list_name, norm = base_of(model)
    if hasattr(inner, "rotary_emb") and getattr(inner.rotary_emb, "rope_type", "") == "dynamic":
        inner.rotary_emb = type(inner.rotary_emb)(config=model.config)
    taps, hooks = [], []
    layers = getattr(inner, list_name)
    hooks.append(layers[0].register_forward_pre_hook(lambda m, a: taps.append(a[0])))
    for layer in list(layers) + [norm]:
        hooks.append(layer.register_forward_hook(lambda m, a, o: taps.append(o[0] if isinstance(o, tuple) else o)))
    with torch.no_grad():
        logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
    for h in hooks:
        h.remove()
    nll = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
    return nll.numpy(), torch.stack([t.reshape(len(ids), -1) for t in taps]).numpy()


def expect(model, directory, lengths=LENGTHS):
    """Writes expected.safetensors for the intact model, every removal and every adjacent exchange."""
    model.eval()
    inner, list_name, _ = base_of(model)
    intact = list(getattr(inner, list_name))
    n, vocab = len(intact), model.config.vocab_size
    orders = {"intact": list(range(n))}
    for i in range(n):
        orders[f"removal_{i}"] = [j for j in range(n) if j != i]
    for i in range(n - 1):
        orders[f"exchange_{i}_{i + 1}"] = [i + 1 if j == i else i if j == i + 1 else j for j in range(n)]
    out = {}
    g = torch.Generator().manual_seed(7)
    for r, length in enumerate(lengths):
        ids = torch.randint(0, vocab, (length,), generator=g)
        out[f"ids.{r}"] = ids.numpy().astype(np.int32)
        for name, order in orders.items():
            setattr(inner, list_name, torch.nn.ModuleList([intact[j] for j in order]))
            model.config.num_hidden_layers = len(order)
            nll, hidden = losses(model, ids)
            assert np.isfinite(nll).all()
            out[f"nll.{name}.{r}"] = nll
            if name == "intact":
                assert len(hidden) == n + 2
                out[f"hidden.{r}"] = hidden
                print(f"{directory}: row {r}, mean nll {nll.mean():.4f}")
    setattr(inner, list_name, torch.nn.ModuleList(intact))
    model.config.num_hidden_layers = n
    save_file(out, os.path.join(directory, "expected.safetensors"))


def old_dialect(path):
    """rope_parameters and dtype back to rope_theta, rope_scaling and torch_dtype."""
    config = json.load(open(path))
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    if rope["rope_type"] in ("linear", "dynamic"):
        rope["type"] = rope.pop("rope_type")
    config["torch_dtype"] = config.pop("dtype")
    json.dump(config, open(path, "w"), indent=2)


def make(name, seed):
    config, dtype, old, shard = MODELS[name]
    directory = os.path.join(ROOT, name)
    shutil.rmtree(directory, ignore_errors=True)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed)
    model.tie_weights()
    model = model.to(dtype)
    model.config.dtype = dtype
    model.save_pretrained(directory, **({"max_shard_size": shard} if shard else {}))
    if os.path.exists(os.path.join(directory, "generation_config.json")):
        os.remove(os.path.join(directory, "generation_config.json"))
    if old:
        old_dialect(os.path.join(directory, "config.json"))
    loaded = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager")
    expect(loaded, directory)


# -- GGUF --

def interleave(w, heads):
    """Hugging Face's rows (first halves, then second halves of each head) to neighbouring rotary pairs, as llama.cpp stores."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def deinterleave(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def make_gguf(seed, mixture):
    """A llama in GGUF, each matrix in another format; with a mixture: fused experts, all of it Q8_0 but the norms and router."""
    import gguf
    directory = os.path.join(ROOT, "mixtral-gguf" if mixture else "llama-gguf")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    width, inner, vocab, layers = (32, 32, 64, 2) if mixture else (64, 96, 96, 3)
    shape = dict(vocab_size=vocab, hidden_size=width, intermediate_size=inner, num_hidden_layers=layers,
                 num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5,
                 tie_word_embeddings=mixture, attn_implementation="eager")
    config = MixtralConfig(**shape, num_local_experts=4, num_experts_per_tok=2) if mixture else LlamaConfig(**shape)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed)
    model.tie_weights()
    kinds = gguf.GGMLQuantizationType
    types = {"attn_q": kinds.Q4_0, "attn_k": kinds.Q4_1, "attn_v": kinds.F16, "attn_output": kinds.BF16,
             "ffn_gate": kinds.Q8_0, "ffn_up": kinds.Q4_0, "ffn_down": kinds.Q4_1, "token_embd": kinds.Q8_0,
             "output": kinds.F32}
    if mixture:
        types = {t: kinds.Q8_0 for t in ("attn_q", "attn_k", "attn_v", "attn_output", "token_embd", "ffn_gate_exps",
                                         "ffn_up_exps", "ffn_down_exps")}
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
             "mlp.gate": "ffn_gate_inp"}
    w = gguf.GGUFWriter(os.path.join(directory, "model.gguf"), "llama")
    w.add_block_count(layers)
    w.add_context_length(64)
    w.add_embedding_length(width)
    w.add_feed_forward_length(inner)
    w.add_head_count(4)
    w.add_head_count_kv(2)
    w.add_rope_freq_base(config.rope_parameters["rope_theta"])
    w.add_rope_dimension_count(width // 4)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(vocab)
    if mixture:
        w.add_expert_count(4)
        w.add_expert_used_count(2)
    state, digests = model.state_dict(), {}

    def store(target, x):
        """Quantises, writes, and returns what a reader gets back."""
        kind = types.get(target.split(".")[-2], kinds.F32)
        data = gguf.quants.quantize(np.ascontiguousarray(x), kind)
        w.add_tensor(target, data, raw_dtype=kind)
        back = np.ascontiguousarray(gguf.quants.dequantize(data, kind), dtype="<f4").reshape(x.shape)
        digests[target] = {"type": kind.name, "shape": list(x.shape), "sha256": hashlib.sha256(back.tobytes()).hexdigest()}
        return back

    factors = np.array([1, 1, 1.25, 2, 3.5, 6, 8, 8], dtype=np.float32)
    if not mixture:
        w.add_tensor("rope_freqs.weight", factors)
    for name, tensor in state.items():
        parts, x = name.split("."), tensor.numpy()
        heads = 4 if "q_proj" in name else 2 if "k_proj" in name else 0
        if name == "lm_head.weight" and mixture:
            continue
        if name.endswith("experts.gate_up_proj"):
            back = np.concatenate([store(f"blk.{parts[2]}.ffn_gate_exps.weight", x[:, :inner]),
                                   store(f"blk.{parts[2]}.ffn_up_exps.weight", x[:, inner:])], axis=1)
        elif name.endswith("experts.down_proj"):
            back = store(f"blk.{parts[2]}.ffn_down_exps.weight", x)
        elif parts[1] == "layers":
            back = store(f"blk.{parts[2]}.{names['.'.join(parts[3:-1])]}.weight", interleave(x, heads) if heads else x)
        else:
            back = store({"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
                          "lm_head.weight": "output.weight"}[name], x)
        back = deinterleave(back, heads) if heads else back
        state[name] = torch.from_numpy(np.ascontiguousarray(back))
    if mixture:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    model.load_state_dict(state)
    if not mixture:
        rotary = model.model.rotary_emb
        rotary.inv_freq = rotary.inv_freq / torch.from_numpy(factors)
    json.dump(digests, open(os.path.join(directory, "dequantised.json"), "w"), indent=1)
    expect(model, directory)


# -- RoPE tables --

ROPES = {
    # name: (head_dim, max positions, rope_parameters, length of the sequence)
    "default": (64, 4096, dict(rope_type="default", rope_theta=10000.0), 4096),
    "default-500k": (128, 8192, dict(rope_type="default", rope_theta=500000.0), 8192),
    "linear": (64, 4096, dict(rope_type="linear", rope_theta=10000.0, factor=3.0), 4096),
    "dynamic": (64, 512, dict(rope_type="dynamic", rope_theta=10000.0, factor=2.5), 2048),
    "dynamic-short": (64, 512, dict(rope_type="dynamic", rope_theta=10000.0, factor=2.5), 400),
    "llama3": (128, 131072, dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                                 high_freq_factor=4.0, original_max_position_embeddings=8192), 8192),
    "yarn": (128, 32768, dict(rope_type="yarn", rope_theta=1000000.0, factor=4.0, original_max_position_embeddings=8192), 8192),
    "yarn-mscale": (64, 16384, dict(rope_type="yarn", rope_theta=10000.0, factor=40.0, mscale=0.707, mscale_all_dim=1.0,
                                    beta_fast=16.0, beta_slow=2.0, original_max_position_embeddings=4096), 4096),
    "yarn-exact": (64, 16384, dict(rope_type="yarn", rope_theta=150000.0, factor=32.0, truncate=False,
                                   attention_factor=1.3, original_max_position_embeddings=4096), 4096),
}


def make_rope():
    directory = os.path.join(ROOT, "rope")
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    out = {}
    for name, (head_dim, positions, rope, length) in ROPES.items():
        config = LlamaConfig(hidden_size=4 * head_dim, num_attention_heads=4, head_dim=head_dim,
                             max_position_embeddings=positions, rope_parameters=dict(rope))
        json.dump({"model_type": "llama", "head_dim": head_dim, "max_position_embeddings": positions,
                   "rope_parameters": rope, "sequence_length": length}, open(f"{directory}/{name}.json", "w"), indent=1)
        rotary = LlamaRotaryEmbedding(config)
        cos, sin = rotary(torch.zeros(1), torch.arange(length)[None])
        chosen = sorted({0, 1, 2, 3, 5, 17, 100, length // 3, length // 2, length - 2, length - 1})
        out[f"{name}.positions"] = np.array(chosen, dtype=np.int32)
        out[f"{name}.inv_freq"] = rotary.inv_freq.numpy().copy()
        out[f"{name}.cos"] = cos[0, chosen, : head_dim // 2].numpy().copy()
        out[f"{name}.sin"] = sin[0, chosen, : head_dim // 2].numpy().copy()
    save_file(out, os.path.join(directory, "expected.safetensors"))


def main():
    wanted = sys.argv[1:] or list(MODELS) + ["llama-gguf", "mixtral-gguf", "rope"]
    for name in wanted:
        if name in ("llama-gguf", "mixtral-gguf"):
            make_gguf(101, name == "mixtral-gguf")
        elif name == "rope":
            make_rope()
        else:
            make(name, 11 + list(MODELS).index(name))


if __name__ == "__main__":
    main()
