#!/usr/bin/env python3
"""From SmolLM2-135M's GGUF file to a Hugging Face directory of the same numbers, for comparisons with transformers.

    make_smollm2_hf.py MODEL.gguf OUTPUT_DIR

Every tensor is dequantised to f32 by the gguf package; rows of Q and K go from neighbouring rotary pairs back to halves.
Writes config.json, model.safetensors, and tokenizer.json rebuilt from the file's vocabulary and merges (single digits, then
byte-level BPE, which is what GGUF's pre-tokenizer "smollm" stands for)."""

import json
import os
import sys

import gguf
import numpy as np
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
         "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
ONCE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def halves(w, heads):
    """Rows of each head from (0, R/2, 1, R/2 + 1, ...) to (0, 1, ..., R/2, R/2 + 1, ...)."""
    return w.reshape(heads, w.shape[0] // heads // 2, 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def main():
    source, out = sys.argv[1:3]
    os.makedirs(out, exist_ok=True)
    reader = gguf.GGUFReader(source)
    get = lambda key: reader.fields[key].contents()
    heads, kv_heads = get("llama.attention.head_count"), get("llama.attention.head_count_kv")
    tensors = {}
    for t in reader.tensors:
        x = np.ascontiguousarray(gguf.quants.dequantize(t.data, t.tensor_type), dtype=np.float32)
        parts = t.name.split(".")
        if parts[0] == "blk":
            x = halves(x, heads) if parts[2] == "attn_q" else halves(x, kv_heads) if parts[2] == "attn_k" else x
            name = f"model.layers.{parts[1]}.{LAYER[parts[2]]}.weight"
        else:
            name = ONCE[parts[0]] + ".weight"
        tensors[name] = np.ascontiguousarray(x)
    save_file(tensors, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})

    tokens, types = get("tokenizer.ggml.tokens"), get("tokenizer.ggml.token_type")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": get("llama.embedding_length"), "intermediate_size": get("llama.feed_forward_length"),
        "num_hidden_layers": get("llama.block_count"), "num_attention_heads": heads, "num_key_value_heads": kv_heads,
        "max_position_embeddings": get("llama.context_length"), "vocab_size": len(tokens),
        "rms_norm_eps": float(f"{get('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "rope_theta": get("llama.rope.freq_base"), "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": "lm_head.weight" not in tensors, "torch_dtype": "float32",
        "bos_token_id": get("tokenizer.ggml.bos_token_id"), "eos_token_id": get("tokenizer.ggml.eos_token_id"),
    }
    json.dump(config, open(os.path.join(out, "config.json"), "w"), indent=2)

    merges = [tuple(m.split(" ")) for m in get("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel(add_prefix_space=True, trim_offsets=True, use_regex=True)
    control = [AddedToken(t, special=True, normalized=False) for t, kind in zip(tokens, types) if kind == 3]
    tokenizer.add_special_tokens(control)
    assert tokenizer.get_vocab_size() == len(tokens)
    tokenizer.save(os.path.join(out, "tokenizer.json"))
    json.dump({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": False, "add_bos_token": False,
               "bos_token": tokens[config["bos_token_id"]], "eos_token": tokens[config["eos_token_id"]],
               "unk_token": tokens[0], "model_max_length": config["max_position_embeddings"]},
              open(os.path.join(out, "tokenizer_config.json"), "w"), indent=2)


if __name__ == "__main__":
    main()
