"""The differences of pairs that Strata is measured against: transformers' hidden states, float32 on the CPU, batched.

usage: peer_diff.py MODEL_DIR PAIRS.jsonl [--batch 64] [--threads 2] [--check DIR]
Both sentences of every pair go through the model without its head, padded on the right, pairs sorted by length; |difference| at the
edited, next, last and all positions from the edit on is added up per category and layer. Prints JSON: seconds of the passes
(loading and a warm-up batch left out), pairs a second, peak memory, and with --check the largest relative difference to
mean.*.edited of a strata diff's diff.safetensors. Needs torch, transformers, safetensors, numpy (from PyPI)."""
import argparse, json, resource, time
import torch
from transformers import AutoModelForCausalLM

parser = argparse.ArgumentParser()
parser.add_argument("model")
parser.add_argument("pairs")
parser.add_argument("--check")
for name, value in (("batch", 64), ("threads", 2)):
    parser.add_argument("--" + name, type=int, default=value)
a = parser.parse_args()
torch.set_num_threads(a.threads)
model = AutoModelForCausalLM.from_pretrained(a.model, dtype=torch.float32).eval().model
model.config.use_cache = False
last = {}
model.norm.register_forward_pre_hook(lambda module, args: last.__setitem__("x", args[0]))
pairs = [json.loads(line) for line in open(a.pairs, encoding="utf-8")]
pairs.sort(key=lambda p: len(p["ids_a"]))
sums = {}


def run(some):
    longest = max(len(p["ids_a"]) for p in some)
    ids = torch.zeros(2 * len(some), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, p in enumerate(some):
        n = len(p["ids_a"])
        ids[2 * i, :n], ids[2 * i + 1, :n] = torch.tensor(p["ids_a"]), torch.tensor(p["ids_b"])
        mask[2 * i : 2 * i + 2, :n] = 1
    with torch.inference_mode():
        hidden = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        states = list(hidden[:-1]) + [last["x"]]
        for layer, h in enumerate(states):
            d = (h[1::2] - h[0::2]).abs()
            for i, p in enumerate(some):
                e, n = p["edit_index"], len(p["ids_a"])
                key = (p["category"] + ("_first" if e == 0 else ""), layer)
                s = sums.setdefault(key, [0, torch.zeros(4, h.shape[-1])])
                s[0] += 1
                s[1][0] += d[i, e]
                s[1][1] += d[i, min(e + 1, n - 1)]
                s[1][2] += d[i, n - 1]
                s[1][3] += d[i, e:n].mean(0)


per = max(1, a.batch // 2)
run(pairs[:per])
sums.clear()
start, cpu = time.perf_counter(), time.process_time()
for i in range(0, len(pairs), per):
    run(pairs[i : i + per])
seconds = time.perf_counter() - start
out = {"seconds": seconds, "pairs_per_second": len(pairs) / seconds,
       "pairs_per_cpu_second": len(pairs) / (time.process_time() - cpu),
       "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
if a.check:
    from safetensors.numpy import load_file

    worst, tensors = 0.0, load_file(a.check + "/diff.safetensors")
    for (category, layer), (n, s) in sums.items():
        want, got = s[0].numpy() / n, tensors["mean." + category + ".edited"][layer]
        worst = max(worst, float(abs(got - want).max() / abs(want).max()))
    out["largest_relative_difference"] = worst
print(json.dumps(out))
