#!/usr/bin/env python3
"""Makes tests/data/gguf: tiny random models as llama.cpp's own converter writes them, with what transformers computes for them.

    make_gguf_fixtures.py LLAMA_CPP [NAME ...]     (run from the repository root; no names: all)

LLAMA_CPP is a checkout of llama.cpp (made with the one that llama-cpp-python 0.3.36 carries). The configurations are those of
make_family_fixtures.py as far as GGUF can tell them: no windows in Qwen, the released softmax scales of Gemma, ... Weights are F32.
The converter's reading of a tokenizer is replaced by a vocabulary of pieces "<0>", "<1>", ...: the models have none.
"""

import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from make_family_fixtures import BASE, GEMMA3_ROPE, MOE, YARN, longrope, make

llama_cpp = sys.argv[1]
sys.path[:0] = [llama_cpp, os.path.join(llama_cpp, "gguf-py")]
import gguf  # noqa: E402
from conversion import ModelBase, ModelType, get_model_architecture, get_model_class  # noqa: E402

ROOT = "tests/data/gguf"
WIDE = dict(BASE, hidden_size=32)
FALCON = dict(vocab_size=43, hidden_size=16, num_hidden_layers=3, num_attention_heads=4)
SLIDE2 = ["sliding_attention", "full_attention"] * 2
SLIDE4 = ["sliding_attention"] * 3 + ["full_attention"]
SLIDE6 = ["sliding_attention"] * 5 + ["full_attention"]
LLAMA3 = dict(rope_type="llama3", rope_theta=10000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=32)

MODELS = {
    # name: (model_type, configuration, dialect of config.json that the converter reads)
    "llama31": ("llama", dict(BASE, rope_parameters=LLAMA3, head_dim=8), "new"),
    "mistral": ("mistral", dict(BASE, sliding_window=None), "new"),
    "mixtral": ("mixtral", dict(BASE, num_local_experts=4, num_experts_per_tok=2, sliding_window=None), "new"),
    "qwen2": ("qwen2", dict(BASE, tie_word_embeddings=True), "new"),
    "qwen2-yarn": ("qwen2", dict(BASE, rope_parameters=YARN), "new"),
    "qwen2moe": ("qwen2_moe", dict(BASE, **MOE, shared_expert_intermediate_size=22, norm_topk_prob=False), "new"),
    "qwen3": ("qwen3", dict(BASE, head_dim=10), "new"),
    "qwen3moe": ("qwen3_moe", dict(BASE, **MOE, head_dim=8, norm_topk_prob=True), "new"),
    "gemma": ("gemma", dict(BASE, head_dim=8), "new"),
    "gemma2": ("gemma2", dict(BASE, head_dim=8, num_hidden_layers=4, sliding_window=5, query_pre_attn_scalar=8,
                              attn_logit_softcapping=3.0, final_logit_softcapping=4.0, layer_types=SLIDE2), "new"),
    "gemma3": ("gemma3_text", dict(BASE, head_dim=8, num_hidden_layers=6, sliding_window=5, query_pre_attn_scalar=8,
                                   layer_types=SLIDE6, rope_parameters=dict(
                                       GEMMA3_ROPE, sliding_attention=dict(rope_type="default", rope_theta=10000.0))), "gemma3"),
    "phi2": ("phi", dict(WIDE, intermediate_size=128, num_key_value_heads=4), "new"),
    "phi3": ("phi3", dict(BASE, sliding_window=6), "new"),
    "phi3-longrope": ("phi3", dict(BASE, hidden_size=32, original_max_position_embeddings=16, partial_rotary_factor=0.75,
                                   rope_parameters=longrope(3)), "new"),
    "olmo": ("olmo", dict(BASE, clip_qkv=0.8), "new"),
    "olmo2": ("olmo2", dict(BASE), "new"),
    "olmo3": ("olmo3", dict(BASE, num_hidden_layers=4, sliding_window=5, layer_types=SLIDE4,
                            rope_parameters=dict(sliding_attention=dict(rope_type="default", rope_theta=500000.0),
                                                 full_attention=dict(YARN, rope_theta=300.0))), "new"),
    "olmoe": ("olmoe", dict(BASE, intermediate_size=14, num_experts=4, num_experts_per_tok=2), "new"),
    "stablelm": ("stablelm", dict(WIDE, use_qkv_bias=True, partial_rotary_factor=0.5), "new"),
    "stablelm-parallel": ("stablelm", dict(WIDE, use_parallel_residual=True), "new"),
    "starcoder": ("gpt_bigcode", dict(vocab_size=43, n_positions=64, n_embd=16, n_layer=3, n_head=4), "new"),
    "starcoder2": ("starcoder2", dict(BASE, sliding_window=None), "new"),
    "granite": ("granite", dict(BASE, embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.3,
                                logits_scaling=2.5), "new"),
    "granitemoe": ("granitemoe", dict(BASE, intermediate_size=12, num_local_experts=4, num_experts_per_tok=2,
                                      residual_multiplier=0.6, attention_multiplier=0.3), "new"),
    "granitemoeshared": ("granitemoeshared", dict(BASE, intermediate_size=10, num_local_experts=5, num_experts_per_tok=3,
                                                  shared_intermediate_size=18, attention_multiplier=0.3), "new"),
    "command-r": ("cohere", dict(BASE, use_qk_norm=True, logit_scale=0.7), "new"),
    "cohere2": ("cohere2", dict(BASE, num_hidden_layers=4, sliding_window=5, logit_scale=0.5, layer_types=SLIDE4), "cohere2"),
    "smollm3": ("smollm3", dict(BASE, num_hidden_layers=4, no_rope_layers=[1, 1, 1, 0]), "new"),
    "gptneox": ("gpt_neox", dict(WIDE), "gptneox"),
    "gptneox-sequential": ("gpt_neox", dict(WIDE, use_parallel_residual=False), "gptneox"),
    "gpt2": ("gpt2", dict(vocab_size=43, n_positions=64, n_embd=16, n_layer=3, n_head=4), "gpt2"),
    "bloom": ("bloom", dict(vocab_size=43, hidden_size=16, n_layer=3, n_head=4), "new"),
    "mpt": ("mpt", dict(vocab_size=43, d_model=16, n_layers=3, n_heads=4, max_seq_len=64, attn_config=dict(clip_qkv=0.9)), "mpt"),
    "falcon": ("falcon", dict(FALCON, num_kv_heads=1), "new"),
    "falcon-new": ("falcon", dict(FALCON, num_kv_heads=2, new_decoder_architecture=True), "old"),
    "nemotron": ("nemotron", dict(WIDE), "new"),
    "arcee": ("arcee", dict(BASE, mlp_bias=True), "new"),
    "exaone4": ("exaone4", dict(BASE, num_hidden_layers=4, sliding_window=5, layer_types=SLIDE4), "new"),
    "seed_oss": ("seed_oss", dict(BASE, head_dim=8, attention_out_bias=True), "new"),
    "ernie4_5": ("ernie4_5", dict(BASE, head_dim=8, use_bias=True), "new"),
    "qwen2-split": ("qwen2", dict(BASE), "split"),
    "glm4": ("glm4", dict(BASE, head_dim=8, attention_bias=False), "old"),
}


def pieces(self):
    n = self.hparams["vocab_size"]
    self.gguf_writer.add_tokenizer_model("llama")
    self.gguf_writer.add_token_list([f"<{i}>" for i in range(n)])
    self.gguf_writer.add_token_scores([0.0] * n)
    self.gguf_writer.add_token_types([1] * n)


def for_the_converter(directory, dialect):
    """Keys that the converter asks for and transformers 5 no longer writes."""
    path = os.path.join(directory, "config.json")
    config = json.load(open(path))
    if dialect in ("cohere2", "gptneox"):
        config["rotary_pct"] = 0.25 if dialect == "gptneox" else 1.0
    if dialect == "gpt2":
        config["n_ctx"] = config["n_positions"]
    if dialect == "mpt":
        config["architectures"] = ["MPTForCausalLM"]
        attention = config["attn_config"]
        config["attn_config"] = {"clip_qkv": attention.get("clip_qkv"), "alibi": attention["alibi"],
                                 "alibi_bias_max": attention["alibi_bias_max"]}
    json.dump(config, open(path, "w"))
    if dialect == "gemma3":  # the converter counts its pieces
        vocabulary = {f"<{i}>": i for i in range(config["vocab_size"])}
        json.dump({"model": {"vocab": vocabulary}, "added_tokens": []}, open(os.path.join(directory, "tokenizer.json"), "w"))


def convert(source, target, split):
    # config.json as it stands: transformers would drop the keys of older dialects
    ModelBase.load_hparams = staticmethod(lambda directory, *_: json.load(open(os.path.join(directory, "config.json"))))
    hparams = ModelBase.load_hparams(Path(source), False)
    model_class = get_model_class(get_model_architecture(hparams, ModelType.TEXT))
    model_class = type(model_class.__name__, (model_class,), {"set_vocab": pieces, "model_arch": model_class.model_arch})
    with torch.inference_mode():
        model_class(Path(source), gguf.LlamaFileType.ALL_F32, Path(target), model_name=os.path.basename(source),
                    split_max_tensors=15 if split else 0).write()


def main():
    logging.disable(logging.WARNING)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in sys.argv[2:] or list(MODELS):
        model_type, configuration, dialect = MODELS[name]
        directory = os.path.join(ROOT, name)
        shutil.rmtree(directory, ignore_errors=True)
        os.makedirs(directory)
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, name)
            make(source, model_type, configuration, torch.float32, "old" if dialect == "old" else "new",
                 3000 + list(MODELS).index(name))
            for_the_converter(source, dialect)
            convert(source, os.path.join(directory, "model.gguf"), dialect == "split")
            shutil.copy(os.path.join(source, "expected.safetensors"), directory)
            os.chmod(os.path.join(directory, "expected.safetensors"), 0o644)


main()
