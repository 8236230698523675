#!/usr/bin/env python3
"""Makes tests/data/families: tiny random models of the further families with what transformers computes for them.

    make_family_fixtures.py [NAME ...]            (no names: all; run from the repository root)
    make_family_fixtures.py --random DIR N SEED   (N models with random configurations under DIR, to be compared with
                                                   build/tests/test_family_forward DIR/*)

Files are those of make_fixtures.py; hidden states are kept of row 1 alone. A layer keeps its window, mask and RoPE wherever it goes:
transformers looks layer_types up by position, so the list is permuted with the layers. Attention is eager but for Falcon with ALiBi,
where transformers' eager path adds the bias twice and sdpa, its default, once.

Made with transformers 5.23, torch 2.15 (CPU).
"""

import json
import os
import random
import shutil
import sys

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file
from transformers import AutoConfig, AutoModelForCausalLM

ROOT = "tests/data/families"
LENGTHS = (4, 13, 21)
torch.set_num_threads(1)

# Llama's key names.
BASE = dict(vocab_size=43, hidden_size=24, intermediate_size=18, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None)
MOE = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=11)
GEMMA3_ROPE = dict(sliding_attention=dict(rope_type="default", rope_theta=100.0),
                   full_attention=dict(rope_type="linear", rope_theta=5000.0, factor=2.0))
YARN = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16)


def longrope(half, **more):
    return dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0 + 0.1 * i for i in range(half)],
                long_factor=[2.0 + 1.5 * i for i in range(half)], original_max_position_embeddings=16, **more)


BF16, F16, F32 = torch.bfloat16, torch.float16, torch.float32
MODELS = {
    # name: (model_type, configuration, dtype of the file, dialect of config.json: new or old)
    "qwen2": ("qwen2", dict(BASE, tie_word_embeddings=True), BF16, "new"),
    "qwen2-sliding": ("qwen2", dict(BASE, num_key_value_heads=4, num_hidden_layers=4, use_sliding_window=True, sliding_window=5,
                                    max_window_layers=2, rope_parameters=YARN), F16, "old"),
    "qwen3": ("qwen3", dict(BASE, head_dim=10, layer_types=["sliding_attention", "full_attention", "sliding_attention"],
                            sliding_window=6, use_sliding_window=True), BF16, "new"),
    "qwen3-bias": ("qwen3", dict(BASE, head_dim=6, attention_bias=True, tie_word_embeddings=True), BF16, "old"),
    "qwen2-moe": ("qwen2_moe", dict(BASE, **MOE, shared_expert_intermediate_size=22, norm_topk_prob=False), BF16, "new"),
    "qwen2-moe-dense": ("qwen2_moe", dict(BASE, **MOE, num_hidden_layers=4, shared_expert_intermediate_size=12, norm_topk_prob=True,
                                          mlp_only_layers=[0], decoder_sparse_step=2, qkv_bias=False, use_sliding_window=True,
                                          sliding_window=7, max_window_layers=3), BF16, "old"),
    "qwen3-moe": ("qwen3_moe", dict(BASE, **MOE, head_dim=8, norm_topk_prob=True, mlp_only_layers=[1]), BF16, "new"),
    "qwen3-moe-plain": ("qwen3_moe", dict(BASE, num_experts=5, num_experts_per_tok=3, moe_intermediate_size=9, norm_topk_prob=False,
                                          head_dim=6, attention_bias=True), F16, "old"),
    "gemma": ("gemma", dict(BASE, head_dim=8), BF16, "new"),
    "gemma-mqa": ("gemma", dict(BASE, head_dim=6, num_key_value_heads=1, hidden_act="gelu", rope_parameters=YARN), F32, "old"),
    "gemma2": ("gemma2", dict(BASE, head_dim=8, num_hidden_layers=4, sliding_window=5, query_pre_attn_scalar=6,
                              attn_logit_softcapping=3.0, final_logit_softcapping=4.0), BF16, "new"),
    "gemma2-plain": ("gemma2", dict(BASE, head_dim=10, sliding_window=9, query_pre_attn_scalar=20, attn_logit_softcapping=None,
                                    final_logit_softcapping=None, attention_bias=True), BF16, "old"),
    "gemma3": ("gemma3_text", dict(BASE, head_dim=8, num_hidden_layers=4, sliding_window=5, query_pre_attn_scalar=8,
                                   layer_types=["sliding_attention", "sliding_attention", "full_attention", "sliding_attention"],
                                   rope_parameters=GEMMA3_ROPE), BF16, "new"),
    "gemma3-caps": ("gemma3_text", dict(BASE, head_dim=6, sliding_window=6, query_pre_attn_scalar=8, sliding_window_pattern=2,
                                        final_logit_softcapping=5.0, num_key_value_heads=1,
                                        rope_parameters=GEMMA3_ROPE), BF16, "old"),
    "phi": ("phi", dict(BASE, hidden_size=32, num_key_value_heads=4), BF16, "new"),
    "phi-qk": ("phi", dict(BASE, hidden_size=32, partial_rotary_factor=0.75, qk_layernorm=True), F16, "old"),
    "phi3": ("phi3", dict(BASE, sliding_window=6), BF16, "new"),
    "phi3-longrope": ("phi3", dict(BASE, hidden_size=32, original_max_position_embeddings=16, partial_rotary_factor=0.75,
                                   rope_parameters=longrope(3)), BF16, "new"),
    "phi3-su": ("phi3", dict(BASE, num_key_value_heads=4, original_max_position_embeddings=16, rope_parameters=longrope(3)), F16, "su"),
    "olmo": ("olmo", dict(BASE, clip_qkv=0.8), BF16, "new"),
    "olmo-bias": ("olmo", dict(BASE, attention_bias=True, tie_word_embeddings=True, num_key_value_heads=4), F16, "old"),
    "olmo2": ("olmo2", dict(BASE), BF16, "new"),
    "olmo2-bias": ("olmo2", dict(BASE, attention_bias=True, tie_word_embeddings=True, rms_norm_eps=1e-3), F16, "old"),
    "olmo3": ("olmo3", dict(BASE, num_hidden_layers=4, sliding_window=5,
                            rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=500000.0),
                                                 full_attention=dict(YARN, rope_theta=300.0))), BF16, "new"),
    "olmoe": ("olmoe", dict(BASE, intermediate_size=14, num_experts=4, num_experts_per_tok=2, clip_qkv=1.5), BF16, "new"),
    "olmoe-normalised": ("olmoe", dict(BASE, intermediate_size=10, num_experts=5, num_experts_per_tok=3, norm_topk_prob=True,
                                       attention_bias=True), F16, "old"),
    "stablelm": ("stablelm", dict(BASE, hidden_size=32, qk_layernorm=True, use_parallel_residual=True), BF16, "new"),
    "stablelm-bias": ("stablelm", dict(BASE, hidden_size=32, use_qkv_bias=True, partial_rotary_factor=0.5), F16, "old"),
    "starcoder2": ("starcoder2", dict(BASE, sliding_window=6), BF16, "new"),
    "starcoder2-plain": ("starcoder2", dict(BASE, use_bias=False, tie_word_embeddings=False, norm_epsilon=1e-3), F16, "old"),
    "granite": ("granite", dict(BASE, embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.3,
                                logits_scaling=2.5), BF16, "new"),
    "granite-bias": ("granite", dict(BASE, attention_bias=True, mlp_bias=True, tie_word_embeddings=True, logits_scaling=3.0,
                                     attention_multiplier=0.5), F16, "old"),
    "granitemoe": ("granitemoe", dict(BASE, intermediate_size=12, num_local_experts=4, num_experts_per_tok=2,
                                      residual_multiplier=0.6, attention_multiplier=0.3), BF16, "new"),
    "granitemoeshared": ("granitemoeshared", dict(BASE, intermediate_size=10, num_local_experts=5, num_experts_per_tok=3,
                                                  shared_intermediate_size=18, attention_multiplier=0.3), F16, "new"),
    "cohere": ("cohere", dict(BASE, use_qk_norm=True, logit_scale=0.7), BF16, "new"),
    "cohere-bias": ("cohere", dict(BASE, attention_bias=True, logit_scale=0.4, num_key_value_heads=4, tie_word_embeddings=False),
                    F16, "old"),
    "cohere2": ("cohere2", dict(BASE, num_hidden_layers=4, sliding_window=5, logit_scale=0.5,
                                layer_types=["sliding_attention", "full_attention", "sliding_attention", "full_attention"]),
                BF16, "new"),
    "smollm3": ("smollm3", dict(BASE, num_hidden_layers=4, no_rope_layers=[1, 0, 1, 1]), BF16, "new"),
    "smollm3-sliding": ("smollm3", dict(BASE, num_hidden_layers=4, no_rope_layer_interval=2, use_sliding_window=True,
                                        sliding_window=5, attention_bias=True, mlp_bias=True, tie_word_embeddings=False), F16, "old"),
    "gpt-neox": ("gpt_neox", dict(BASE, hidden_size=32), BF16, "new"),
    "gpt-neox-sequential": ("gpt_neox", dict(BASE, hidden_size=32, use_parallel_residual=False, attention_bias=False,
                                             rotary_pct=0.5, tie_word_embeddings=True), F16, "old"),
    "gptj": ("gptj", dict(vocab_size=43, n_positions=64, n_embd=32, n_layer=3, n_head=4, rotary_dim=4, n_inner=40), BF16, "new"),
    "opt": ("opt", dict(BASE, ffn_dim=30), BF16, "new"),
    "opt-after": ("opt", dict(BASE, ffn_dim=30, do_layer_norm_before=False, word_embed_proj_dim=10), BF16, "new"),
    "opt-plain": ("opt", dict(BASE, ffn_dim=30, enable_bias=False, layer_norm_elementwise_affine=False, word_embed_proj_dim=28,
                              activation_function="gelu", tie_word_embeddings=False), F16, "new"),
    "bloom": ("bloom", dict(vocab_size=43, hidden_size=16, n_layer=3, n_head=4), BF16, "new"),
    "bloom-five": ("bloom", dict(vocab_size=43, hidden_size=20, n_layer=3, n_head=5), BF16, "new"),
    "mpt": ("mpt", dict(vocab_size=43, d_model=16, n_layers=3, n_heads=4, max_seq_len=64, attn_config=dict(clip_qkv=0.9)), BF16, "new"),
    "mpt-six": ("mpt", dict(vocab_size=43, d_model=18, n_layers=3, n_heads=6, max_seq_len=64,
                            attn_config=dict(softmax_scale=0.4)), F16, "new"),
    "falcon": ("falcon", dict(vocab_size=43, hidden_size=16, num_hidden_layers=3, num_attention_heads=4), BF16, "new"),
    "falcon-alibi": ("falcon", dict(vocab_size=43, hidden_size=18, num_hidden_layers=3, num_attention_heads=6, alibi=True,
                                    multi_query=False, parallel_attn=False, bias=True), BF16, "new"),
    "falcon-new": ("falcon", dict(vocab_size=43, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, num_kv_heads=2,
                                  new_decoder_architecture=True), BF16, "old"),
    "falcon-eleven": ("falcon", dict(vocab_size=43, hidden_size=16, num_hidden_layers=3, num_attention_heads=4, num_kv_heads=2,
                                     new_decoder_architecture=True, num_ln_in_parallel_attn=1, tie_word_embeddings=False), F16, "new"),
    "gpt-neo": ("gpt_neo", dict(vocab_size=43, max_position_embeddings=64, hidden_size=16, num_layers=4, num_heads=4,
                                attention_types=[[["global", "local"], 2]], window_size=5), BF16, "new"),
    "gpt-bigcode": ("gpt_bigcode", dict(vocab_size=43, n_positions=64, n_embd=16, n_layer=3, n_head=4), BF16, "new"),
    "gpt-bigcode-heads": ("gpt_bigcode", dict(vocab_size=43, n_positions=32, n_embd=16, n_layer=3, n_head=4, multi_query=False), F16, "new"),
    "glm": ("glm", dict(BASE, head_dim=8), BF16, "new"),
    "glm4": ("glm4", dict(BASE, head_dim=8, attention_bias=False), F16, "old"),
    "nemotron": ("nemotron", dict(BASE, hidden_size=32), BF16, "new"),
    "nemotron-bias": ("nemotron", dict(BASE, head_dim=8, attention_bias=True, mlp_bias=True), F16, "old"),
    "arcee": ("arcee", dict(BASE, mlp_bias=True), BF16, "new"),
    "persimmon": ("persimmon", dict({k: v for k, v in BASE.items() if k != "num_key_value_heads"}, hidden_size=32), BF16, "new"),
    "exaone4": ("exaone4", dict(BASE, num_hidden_layers=4, sliding_window=5, sliding_window_pattern=3), BF16, "new"),
    "seed-oss": ("seed_oss", dict(BASE, head_dim=8, attention_out_bias=True), BF16, "new"),
    "ministral": ("ministral", dict(BASE, head_dim=6, sliding_window=5,
                                    layer_types=["full_attention", "sliding_attention", "sliding_attention"]), BF16, "new"),
    "helium": ("helium", dict(BASE, head_dim=6, attention_bias=True), BF16, "new"),
    "ernie4-5": ("ernie4_5", dict(BASE, head_dim=8, use_bias=True), BF16, "new"),
}


def randomise(model, seed):
    """Weights large enough that attention is far from uniform and every gain and bias shows."""
    g = torch.Generator().manual_seed(seed)
    offset = model.config.model_type.startswith("gemma") or model.config.model_type == "nemotron"
    for name, p in model.named_parameters():
        x = torch.randn(p.shape, generator=g)
        norm = any(s in name for s in ("norm", "ln_", "layernorm"))
        if norm and name.endswith("weight"):
            p.data = (0 if offset else 1) + 0.3 * x
        elif name.endswith("bias"):
            p.data = 0.3 * x
        elif any(s in name for s in ("embed", "wte", "wpe")):
            p.data = 0.6 * x
        else:
            p.data = 0.28 * x


LISTS = ("model.layers", "model.decoder.layers", "transformer.h", "transformer.blocks", "gpt_neox.layers")
NORMS = ("model.norm", "model.final_layernorm", "model.decoder.final_layer_norm", "transformer.ln_f", "transformer.norm_f",
         "gpt_neox.final_layer_norm")


def find(model, paths):
    """(owner, attribute) of the first path that exists and is not None; None when none does."""
    for path in paths:
        at, names = model, path.split(".")
        for n in names[:-1]:
            at = getattr(at, n, None)
        if getattr(at, names[-1], None) is not None:
            return at, names[-1]
    return None


def losses(model, ids):
    """(nll of each predicted token, [embedding, layers..., final norm]) of one row."""
    owner, attribute = find(model, LISTS)
    layers, norm = getattr(owner, attribute), find(model, NORMS)
    for name, rotary in list(owner.named_children()):
        if "rotary" in name and "dynamic" in str(getattr(rotary, "rope_type", "")):
            setattr(owner, name, type(rotary)(config=model.config))
    taps, hooks = [], []
    keep = lambda o: taps.append(o[0] if isinstance(o, tuple) else o)
    hooks.append(layers[0].register_forward_pre_hook(lambda m, a, k: keep(a[0] if a else k["hidden_states"]), with_kwargs=True))
    for layer in list(layers) + ([getattr(*norm)] if norm else []):
        hooks.append(layer.register_forward_hook(lambda m, a, o: keep(o)))
    with torch.no_grad():
        logits = model(input_ids=ids[None], use_cache=False).logits[0].float()
    for h in hooks:
        h.remove()
    if not norm:
        taps.append(taps[-1])
    nll = torch.nn.functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
    return nll.numpy(), torch.stack([t.reshape(len(ids), -1) for t in taps]).numpy()


def expect(model, directory, lengths=LENGTHS):
    """Writes expected.safetensors for the intact model, every removal and every adjacent exchange."""
    model.eval()
    owner, attribute = find(model, LISTS)
    intact, config = list(getattr(owner, attribute)), model.config
    n, types = len(intact), getattr(config, "layer_types", None)
    orders = {"intact": list(range(n))}
    for i in range(n):
        orders[f"removal_{i}"] = [j for j in range(n) if j != i]
    for i in range(n - 1):
        orders[f"exchange_{i}_{i + 1}"] = [i + 1 if j == i else i if j == i + 1 else j for j in range(n)]
    out = {}
    g = torch.Generator().manual_seed(7)
    for r, length in enumerate(lengths):
        ids = torch.randint(3, config.vocab_size, (length,), generator=g)
        out[f"ids.{r}"] = ids.numpy().astype(np.int32)
        for name, order in orders.items():
            setattr(owner, attribute, torch.nn.ModuleList([intact[j] for j in order]))
            config.num_hidden_layers = len(order)
            if types:
                config.layer_types = [types[j] for j in order]
            nll, hidden = losses(model, ids)
            assert np.isfinite(nll).all()
            out[f"nll.{name}.{r}"] = nll
            if name == "intact" and r == 1:
                assert len(hidden) == n + 2, len(hidden)
                out[f"hidden.{r}"] = hidden
    save_file(out, os.path.join(directory, "expected.safetensors"))
    print(f"{directory}: mean nll {np.mean(out['nll.intact.1']):.4f}")


def old_dialect(path, su):
    """rope_parameters, layer_types and dtype back to what files said before transformers 5."""
    config = json.load(open(path))
    config["torch_dtype"] = config.pop("dtype")
    rope = config.pop("rope_parameters", None)
    if config["model_type"] == "gemma3_text":
        full, local = rope["full_attention"], rope["sliding_attention"]
        config["rope_theta"], config["rope_local_base_freq"] = full.pop("rope_theta"), local["rope_theta"]
        config["rope_scaling"] = None if full["rope_type"] == "default" else full
        del config["layer_types"]
    elif rope:
        config["rope_theta"] = rope.pop("rope_theta")
        fraction = rope.pop("partial_rotary_factor", None)
        if fraction is not None:
            config["rotary_pct" if config["model_type"] == "gpt_neox" else "partial_rotary_factor"] = fraction
        if su:
            rope = {"type": "su", "original_max_position_embeddings": config["original_max_position_embeddings"],
                    "short_factor": rope["short_factor"], "long_factor": rope["long_factor"]}
        config["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    if "sliding_window" in config and config["model_type"].startswith("qwen"):
        config.pop("layer_types", None)
    if config["model_type"] in ("gemma2", "cohere2", "smollm3"):
        config.pop("layer_types", None)
    json.dump(config, open(path, "w"), indent=2)


def make(directory, model_type, kwargs, dtype, dialect, seed, lengths=LENGTHS):
    shutil.rmtree(directory, ignore_errors=True)
    config = AutoConfig.for_model(model_type, **json.loads(json.dumps(kwargs)))
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    randomise(model, seed)
    model.tie_weights()
    model = model.to(dtype)
    model.config.dtype = dtype
    model.save_pretrained(directory)
    if os.path.exists(os.path.join(directory, "generation_config.json")):
        os.remove(os.path.join(directory, "generation_config.json"))
    path = os.path.join(directory, "config.json")
    if dialect != "new":
        old_dialect(path, dialect == "su")
    attention = "sdpa" if model_type == "falcon" and kwargs.get("alibi") else "eager"
    loaded = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation=attention,
                                                  experts_implementation="eager")
    expect(loaded, directory, lengths)


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if sys.argv[1:2] == ["--random"]:
        from family_configs import random_configuration
        directory, count, seed = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
        for i in range(count):
            rng = random.Random(f"{seed} {i}")
            model_type, kwargs = random_configuration(rng, i)
            name = os.path.join(directory, f"{i:03d}-{model_type}")
            try:
                make(name, model_type, kwargs, torch.float32, rng.choice(["new", "old"]), i)
            except Exception as e:  # what transformers itself refuses or cannot run
                shutil.rmtree(name, ignore_errors=True)
                print(f"{name}: {e!r}"[:300], flush=True)
        return
    for name in sys.argv[1:] or list(MODELS):
        make(os.path.join(ROOT, name), *MODELS[name], 1000 + list(MODELS).index(name))


if __name__ == "__main__":
    main()
