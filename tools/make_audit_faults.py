#!/usr/bin/env python3
"""Faults in copies of tiny Hugging Face models (tests/data/models), dumped as tools/dump_hf.py dumps, and what strata audit
must say of each: the first operation that diverges, and the alternative that closes it.

  tools/make_audit_faults.py OUTPUT_DIR [--strata build/strata]     all dumps; with --strata each is audited: one line a dump
  tools/make_audit_faults.py tests/data/audit --fixtures            the few dumps that tests/test_audit.c reads

Each fault changes the configuration, a weight, or a function of the modelling code; the audit sees the untouched model.
Run from the repository root. Made with transformers 5.23, torch 2.15 (CPU)."""
import argparse
import json
import os
import subprocess
import sys

import torch
from torch import nn
from transformers.models.gemma2 import modeling_gemma2
from transformers.models.glm4 import modeling_glm4
from transformers.models.llama import modeling_llama
from transformers.models.mixtral import modeling_mixtral
from transformers.models.qwen2_moe import modeling_qwen2_moe
from transformers.models.smollm3 import modeling_smollm3

sys.path.insert(0, os.path.dirname(__file__))
import dump_hf

MODELS, FAMILIES = "tests/data/models", "tests/data/families"
IDS = [3, 17, 99, 45, 8, 120, 64, 5, 77, 31]


def patched(owner, name, make):
    """A change of code: owner.name becomes make(old), put back by the function returned."""
    old = getattr(owner, name)
    setattr(owner, name, make(old))
    return lambda: setattr(owner, name, old)


def interleaved_rope(old):
    def apply(q, k, cos, sin, unsqueeze_dim=1):
        half = cos.shape[-1] // 2
        cos = cos[..., :half].repeat_interleave(2, dim=-1).unsqueeze(unsqueeze_dim)
        sin = sin[..., :half].repeat_interleave(2, dim=-1).unsqueeze(unsqueeze_dim)
        turn = lambda x: torch.stack((-x[..., 1::2], x[..., ::2]), dim=-1).flatten(-2)
        return q * cos + turn(q) * sin, k * cos + turn(k) * sin
    return apply


def wide_rope(old):
    def apply(q, k, cos, sin, unsqueeze_dim=1):
        a, b = old(q.float(), k.float(), cos.float(), sin.float(), unsqueeze_dim)
        return a.to(q.dtype), b.to(k.dtype)
    return apply


def backwards_rope(old):
    return lambda q, k, cos, sin, unsqueeze_dim=1: old(q, k, cos, -sin, unsqueeze_dim)


def wide_gain(old):
    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.variance_epsilon)
        return (self.weight.float() * wide).to(x.dtype)
    return forward


def narrow_norm(old):
    def forward(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))
    return forward


def wide_probabilities(old):
    def attention(module, query, key, value, mask, scaling, dropout=0.0, **kwargs):
        k = modeling_llama.repeat_kv(key, module.num_key_value_groups)
        v = modeling_llama.repeat_kv(value, module.num_key_value_groups)
        weights = torch.matmul(query, k.transpose(2, 3)) * scaling
        weights = weights if mask is None else weights + mask
        weights = nn.functional.softmax(weights, dim=-1, dtype=torch.float32)
        return torch.matmul(weights, v.float()).to(query.dtype).transpose(1, 2).contiguous(), weights
    return attention


def not_causal(old):
    return lambda module, query, key, value, mask, *args, **kwargs: old(module, query, key, value, None, *args, **kwargs)


def tiled_heads(old):
    return lambda x, n: x.repeat(1, n, 1, 1)


def exchanged_mlp(old):
    return lambda self, x: self.down_proj(self.act_fn(self.up_proj(x)) * self.gate_proj(x))


def plain_router(old):
    def forward(self, x):
        logits = nn.functional.linear(x.reshape(-1, self.hidden_dim), self.weight)
        values, indices = torch.topk(nn.functional.softmax(logits.float(), dim=-1), self.top_k, dim=-1)
        return logits, values, indices
    return forward


def no_residual(old):
    def forward(self, hidden_states, **kwargs):
        x, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **kwargs)
        return x + self.mlp(self.post_attention_layernorm(x))
    return forward


def plain_gain(old):
    return lambda self, x: (self._norm(x.float()) * self.weight.float()).type_as(x)


def no_norm(names):
    def change(model):
        for module_name, module in model.named_modules():
            if module_name.split(".")[-1] in names:
                module.forward = lambda x: x
    return weights(change)


def ungated(old):
    def forward(self, hidden_states):
        x = hidden_states.view(-1, hidden_states.shape[-1])
        _, shares, chosen = self.gate(x)
        self.shared_expert_gate(x)
        return (self.experts(x, chosen, shares) + self.shared_expert(x)).reshape(hidden_states.shape)
    return forward


def half_pairs(old):
    return lambda x: torch.cat((-x[..., x.shape[-1] // 2:], x[..., : x.shape[-1] // 2]), dim=-1)


def rotate_everywhere(model):
    for layer in model.model.layers:
        layer.self_attn.use_rope = 1


def shifted_opt(model):
    table = model.model.decoder.embed_positions.weight
    table.data = torch.cat((table.data[1:], table.data[:1]))


def zero_head_bias(model):
    model.lm_head.bias.data.zero_()


def identity_post_norm(model):
    for layer in model.model.layers:
        layer.post_attention_layernorm.forward = lambda x: x


def code(owner, name, make):
    return {"code": (owner, name, make)}


def weights(change):
    return {"weights": change}


def config(**changes):
    return {"config": changes}


def zero_bias(linear):
    def change(model):
        linear(model).bias.data.zero_()
    return weights(change)


def transpose_o(model):
    o = model.model.layers[1].self_attn.o_proj
    o.weight.data = o.weight.data.T.contiguous()


def exchange_gate_up(model):
    mlp = model.model.layers[2].mlp
    mlp.gate_proj.weight, mlp.up_proj.weight = mlp.up_proj.weight, mlp.gate_proj.weight


def next_layers_k(model):
    layers = model.model.layers
    layers[0].self_attn.k_proj.weight = layers[1].self_attn.k_proj.weight


def shifted_positions(model):
    wpe = model.transformer.wpe
    wpe.weight.data = torch.cat((wpe.weight.data[1:], wpe.weight.data[:1]))


def scale(value):
    def change(model):
        for layer in model.model.layers:
            layer.self_attn.scaling = value
    return weights(change)


LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
llama, mixtral = modeling_llama, modeling_mixtral

# name, model, dtype, fault, first operation to diverge, beginning of the alternative's name
FAULTS = [
    ("eps", "llama", "f32", config(rms_norm_eps=1e-5), "L0.attn_norm", "rms_norm_eps 1e-05"),
    ("eps_bf16", "mixtral", "bf16", config(rms_norm_eps=1e-6), "L0.attn_norm", "rms_norm_eps 1e-06"),
    ("eps_odd", "llama", "f32", config(rms_norm_eps=3e-5), "L0.attn_norm", "rms_norm_eps 3e-05 (fitted)"),
    ("eps_gpt2", "gpt2", "f32", config(layer_norm_epsilon=1e-6), "L0.attn_norm", "layer_norm_eps 1e-06"),
    ("theta", "llama", "f32", config(rope_parameters={"rope_type": "default", "rope_theta": 5e5}), "L0.attn.q_rot",
     "rope_theta 500000"),
    ("theta_odd", "llama", "f32", config(rope_parameters={"rope_type": "default", "rope_theta": 12300.0}), "L0.attn.q_rot",
     "rope_theta 12300 (fitted)"),
    ("theta_bf16", "mixtral", "bf16", config(rope_parameters={"rope_type": "default", "rope_theta": 1e4}), "L0.attn.q_rot",
     "rope_theta 10000"),
    ("pairing", "llama", "bf16", code(llama, "apply_rotary_pos_emb", interleaved_rope), "L0.attn.q_rot", "pairs (2i, 2i+1)"),
    ("backwards", "llama", "f32", code(llama, "apply_rotary_pos_emb", backwards_rope), "L0.attn.q_rot",
     "rotated by the negative angle"),
    ("no_scaling", "llama31", "bf16", config(rope_parameters={"rope_type": "default", "rope_theta": 10000.0}),
     "L0.attn.q_rot", "no rope scaling"),
    ("scaling_factor", "llama31", "f32", config(rope_parameters=dict(LLAMA3, factor=4.0)), "L0.attn.q_rot",
     "rope scaling factor 4"),
    ("window_more", "mistral", "f32", config(sliding_window=8), "L0.attn.mix", "window 8 instead of 7"),
    ("window_less", "mistral", "bf16", config(sliding_window=6), "L0.attn.mix", "window 6 instead of 7"),
    ("window_none", "mistral", "f32", config(sliding_window=None), "L0.attn.mix", "no window"),
    ("scale", "mistral", "bf16", scale(1 / 8), "L0.attn.mix", "scale 1/head dim"),
    ("not_causal", "llama", "f32", code(llama, "eager_attention_forward", not_causal), "L0.attn.mix", "no causal mask"),
    ("kv_heads", "llama", "f32", code(llama, "repeat_kv", tiled_heads), "L0.attn.mix", "head h reads key/value head h mod K"),
    ("router", "mixtral", "bf16", code(mixtral.MixtralTopKRouter, "forward", plain_router), "L0.mlp.moe",
     "router weights not normalised"),
    ("experts", "mixtral", "f32", config(num_experts_per_tok=1), "L0.mlp.moe", "1 expert a token"),
    ("bias", "llama-bias", "f32", zero_bias(lambda m: m.model.layers[0].self_attn.q_proj), "L0.attn.q_proj", "missing bias"),
    ("bias_gpt2", "gpt2", "bf16", zero_bias(lambda m: m.transformer.h[1].mlp.c_fc), "L1.mlp.up_proj", "missing bias"),
    ("gain_point", "llama", "bf16", code(llama.LlamaRMSNorm, "forward", wide_gain), "L0.attn_norm",
     "rounded after the gain instead of before it"),
    ("narrow_norm", "llama", "bf16", code(llama.LlamaRMSNorm, "forward", narrow_norm), "L0.attn_norm",
     "norm computed in bf16 throughout"),
    ("rope_point", "llama", "bf16", code(llama, "apply_rotary_pos_emb", wide_rope), "L0.attn.q_rot",
     "rotation rounded once, its table in bf16"),
    ("softmax_point", "llama", "bf16", code(llama, "eager_attention_forward", wide_probabilities), "L0.attn.mix",
     "probabilities not rounded"),
    ("gate_up_code", "llama", "bf16", code(llama.LlamaMLP, "forward", exchanged_mlp), "L0.mlp.act", "gate and up exchanged"),
    ("gate_up_weights", "llama", "f32", weights(exchange_gate_up), "L2.mlp.gate_proj", "gate and up exchanged"),
    ("transposed", "llama", "bf16", weights(transpose_o), "L1.attn.o_proj", "transposed weight"),
    ("next_layer", "llama", "f32", weights(next_layers_k), "L0.attn.k_proj", "weight of the next layer"),
    ("activation", "llama", "f32", config(hidden_act="gelu"), "L0.mlp.act", "activation gelu_erf"),
    ("residual", "llama", "f32", code(llama.LlamaDecoderLayer, "forward", no_residual), "L0.resid_mid", "missing residual"),
    ("positions_gpt2", "gpt2", "f32", weights(shifted_positions), "embed", "positions counted from 1"),
    ("softcap", "gemma2", "f32", config(attn_logit_softcapping=None), "L0.attn.mix", "no score softcap"),
    ("logit_softcap", "gemma2", "bf16", config(final_logit_softcapping=None), "logits", "no logit softcap"),
    ("gain_offset", "gemma2", "bf16", code(modeling_gemma2.Gemma2RMSNorm, "forward", plain_gain), "L0.attn_norm", "gain without one"),
    ("window_gemma", "gemma2", "f32", config(sliding_window=3), "L0.attn.mix", "window 3 instead of 5"),
    ("post_norm", "olmo2", "bf16", weights(identity_post_norm), "L0.attn_post_norm", "no norm"),
    ("residual_multiplier", "granite", "f32", config(residual_multiplier=1.0), "L0.resid_mid", "no residual multiplier"),
    ("embedding_multiplier", "granite", "bf16", config(embedding_multiplier=1.0), "embed", "no embedding multiplier"),
    ("logit_scale", "granite", "f32", config(logits_scaling=1.0), "logits", "no logit scale"),
    ("logit_scale_cohere", "cohere", "bf16", config(logit_scale=1.0), "logits", "no logit scale"),
    ("qk_norm", "qwen3", "bf16", no_norm(("q_norm", "k_norm")), "L0.attn.q_norm", "no norm"),
    ("qk_eps", "qwen3", "f32", weights(lambda m: [setattr(l.self_attn.q_norm, "variance_epsilon", 1e-3) for l in m.model.layers]),
     "L0.attn.q_norm", "rms_norm_eps 0.001"),
    ("alibi", "falcon-alibi", "f32", config(attn_implementation="eager"), "L0.attn.mix", "ALiBi added twice"),
    ("clip", "olmo", "f32", config(clip_qkv=None), "L0.attn.q_rot", "queries, keys and values not clipped"),
    ("rotary_dims", "stablelm", "f32", config(rope_parameters={"rope_type": "default", "rope_theta": 10000.0,
                                                               "partial_rotary_factor": 0.5}), "L0.attn.q_rot", "4 rotary dims instead of 2"),
    ("no_rope_layer", "smollm3", "bf16", weights(rotate_everywhere), "L1.attn.q_rot", "rotated, as other layers are"),
    ("pairing_glm", "glm4", "bf16", code(modeling_glm4, "rotate_half", half_pairs), "L0.attn.q_rot", None),
    ("shared_gate", "qwen2-moe", "bf16", code(modeling_qwen2_moe.Qwen2MoeSparseMoeBlock, "forward", ungated), "L0.mlp.moe",
     "shared expert not gated"),
    ("router_moe", "qwen2-moe", "f32", config(norm_topk_prob=True), "L0.mlp.experts", "router weights normalised"),
    ("relu", "nemotron", "bf16", config(hidden_act="relu"), "L0.mlp.act", "activation relu"),
    ("positions_opt", "opt", "bf16", weights(shifted_opt), "embed", "positions counted from 1"),
    ("head_bias", "phi", "bf16", weights(zero_head_bias), "logits", "missing bias"),
]
CLEAN = [(model, dtype) for model in ("llama", "llama31", "llama-bias", "llama-yarn", "llama-linear", "mistral", "mixtral",
                                      "gpt2") for dtype in ("f32", "bf16")]
CLEAN += [(model, dtype) for model in sorted(os.listdir(FAMILIES)) for dtype in ("f32", "bf16")]
FIXTURES = {"eps_bf16", "theta_odd", "pairing", "window_less", "router", "gain_point", "rope_point", "gate_up_code", "transposed",
            "bias_gpt2", "logit_softcap", "gain_offset", "post_norm", "embedding_multiplier", "logit_scale_cohere", "qk_norm", "alibi", "clip",
            "rotary_dims", "no_rope_layer", "shared_gate", "relu", "positions_opt", "head_bias"}
CLEAN_FIXTURES = {("llama", "f32"), ("llama31", "bf16"), ("mistral", "bf16"), ("mixtral", "bf16"), ("gpt2", "f32"),
                  ("gpt2", "bf16")}
CLEAN_FIXTURES |= {(model, "bf16") for model in (
    "bloom", "cohere", "cohere2", "ernie4-5", "exaone4", "falcon-alibi", "falcon-eleven", "gemma2", "gemma3-caps", "glm4", "gpt-neo", "gpt-neox",
    "gptj", "granitemoeshared", "helium", "mpt", "nemotron-bias", "olmo", "olmo2", "opt", "opt-after", "persimmon", "phi-qk", "phi3", "qwen2-moe-dense",
    "smollm3", "stablelm", "starcoder2")} | {(model, "f32") for model in ("falcon-new", "granitemoe", "gpt-bigcode", "olmoe")}


def folder(model_name):
    return os.path.join(MODELS if os.path.isdir(os.path.join(MODELS, model_name)) else FAMILIES, model_name)


def write(path, model_name, dtype, fault, n_ids):
    undo = patched(*fault["code"]) if "code" in fault else None
    try:
        model = dump_hf.load(folder(model_name), dtype, **fault.get("config", {}))
        if "weights" in fault:
            with torch.no_grad():
                fault["weights"](model)
        vocab = model.config.vocab_size
        dump_hf.dump(model, [i % vocab for i in IDS[:n_ids]], path)
    finally:
        if undo:
            undo()


def n_ids(a, model):
    """Committed dumps of the families are short."""
    return 7 if a.fixtures and folder(model).startswith(FAMILIES) else len(IDS)


def audit(strata, model_name, path):
    done = subprocess.run([strata, "audit", "--model_name", folder(model_name), "--against", path, "--json"],
                          capture_output=True, text=True)
    if not done.stdout:
        sys.exit(done.stderr)
    return json.loads(done.stdout)


def main():
    parser = argparse.ArgumentParser(description="Faults for strata audit.")
    parser.add_argument("output_dir")
    parser.add_argument("--strata")
    parser.add_argument("--fixtures", action="store_true")
    a = parser.parse_args()
    os.makedirs(a.output_dir, exist_ok=True)
    wrong = 0
    for model, dtype in CLEAN:
        if a.fixtures and (model, dtype) not in CLEAN_FIXTURES:
            continue
        path = os.path.join(a.output_dir, f"clean_{model}_{dtype}.safetensors")
        write(path, model, dtype, {}, n_ids(a, model))
        if a.strata:
            r = audit(a.strata, model, path)
            worst = max(r["operations"], key=lambda o: o["margin"])
            wrong += r["n_diverging"] != 0
            print(f"{'ok ' if not r['n_diverging'] else 'BAD'} clean {model} {dtype}: {r['n_operations']} operations, "
                  f"largest margin {worst['margin']:.3f} at {worst['name']}", flush=True)
    for name, model, dtype, fault, operation, alternative in FAULTS:
        if a.fixtures and name not in FIXTURES:
            continue
        path = os.path.join(a.output_dir, f"{name}.safetensors")
        write(path, model, dtype, fault, n_ids(a, model))
        if a.strata:
            r = audit(a.strata, model, path)
            first = r["first_divergence"] or {"name": "none", "margin": 0}
            closes = str(r["closes_with"])
            good = first["name"] == operation and closes == (alternative or closes)
            wrong += not good
            print(f"{'ok ' if good else 'BAD'} {name} ({model} {dtype}): {first['name']} {first['margin'] or 0:.3g}, closes with: "
                  f"{closes} | {[(x['name'], round(x['margin'], 3)) for x in r['alternatives'][:3] if x['margin'] is not None]}",
                  flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
