"""Removal sweeps by transformers, the loop everybody writes, on the device and shapes of gpu_bench.c: random bf16 weights, SDPA
attention, every order as a forward pass of its own over the same tokens, losses by log_softmax of the logits in f32. Prints lines for
bench/RESULTS.md; torch picks the device (CUDA_VISIBLE_DEVICES)."""
import time

import torch
import transformers

LAYERS, VOCAB, ROWS = 32, 128256, 8192


def make():
    config = transformers.LlamaConfig(
        hidden_size=4096, intermediate_size=14336, num_hidden_layers=LAYERS, num_attention_heads=32, num_key_value_heads=8,
        vocab_size=VOCAB, rms_norm_eps=1e-5, rope_theta=500000.0, max_position_embeddings=8192, tie_word_embeddings=False)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = transformers.LlamaForCausalLM._from_config(config, attn_implementation="sdpa")
    return model.eval()


def losses(model, ids):
    """Of every predicted token; the logits of one window at a time."""
    hidden = model.model(ids, use_cache=False)[0]
    out = []
    for row, states in zip(ids, hidden):
        logits = model.lm_head(states[:-1]).float()
        out.append(torch.nn.functional.cross_entropy(logits, row[1:], reduction="none"))
    return torch.stack(out)


def sweep(model, ids):
    layers = model.model.layers
    for removed in range(-1, LAYERS):
        model.model.layers = torch.nn.ModuleList(l for i, l in enumerate(layers) if i != removed)
        losses(model, ids)
    model.model.layers = layers
    torch.cuda.synchronize()


@torch.inference_mode()
def main():
    model = make()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}, the loop over all orders:\n")
    print("| model | context | tokens a block | seconds a block | tokens/s, all orders |\n|---|---|---|---|---|")
    for context in (512, 2048):
        ids = torch.randint(VOCAB, (ROWS // context, context), device="cuda")
        losses(model, ids)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        sweep(model, ids)
        seconds = time.perf_counter() - begin
        print(f"| Llama 3 8B, {LAYERS} layers | {context} | {ROWS} | {seconds:.2f} | {ROWS * (LAYERS + 1) / seconds:.0f} |", flush=True)


main()
