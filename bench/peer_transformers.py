"""The sweep that Strata is measured against: transformers, the layer list sliced for every removal, float32 on the CPU.

usage: peer_transformers.py MODEL_DIR TEXT_FILE [--context 512] [--windows 2] [--batch 2] [--threads 2] [--variants 0]
Prints JSON: seconds, variant tokens per second (loss of every predicted token included), intact perplexity, peak memory.
--variants N measures the intact model and the first N removals only (0: all); the rate is per variant either way.
Needs torch, transformers, tokenizers (from PyPI)."""
import argparse, json, math, resource, time
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("text")
for name, value in (("context", 512), ("windows", 2), ("batch", 2), ("threads", 2), ("variants", 0)):
    parser.add_argument("--" + name, type=int, default=value)
a = parser.parse_args()
torch.set_num_threads(a.threads)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval()
model.config.use_cache = False
tokenizer = PreTrainedTokenizerFast(tokenizer_file=a.model + "/tokenizer.json")
ids = tokenizer.encode(open(a.text, encoding="utf-8").read(), add_special_tokens=False)[: a.context * a.windows]
ids = torch.tensor(ids).view(a.windows, a.context)
layers = list(model.model.layers)


def loss_of(kept):
    model.model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    total = 0.0
    with torch.inference_mode():
        for i in range(0, a.windows, a.batch):
            x = ids[i : i + a.batch]
            logits = model(input_ids=x).logits
            total += torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), x[:, 1:].reshape(-1), reduction="sum").item()
    return total / (a.windows * (a.context - 1))


loss_of(layers)  # warm-up
orders = [layers] + [layers[:i] + layers[i + 1 :] for i in range(len(layers))]
if a.variants:
    orders = orders[: a.variants + 1]
start = time.perf_counter()
losses = [loss_of(order) for order in orders]
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "variant_tokens_per_second": len(orders) * a.windows * (a.context - 1) / seconds,
                  "intact_ppl": math.exp(losses[0]), "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
