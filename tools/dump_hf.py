#!/usr/bin/env python3
"""Writes what every operation of a Hugging Face model takes and gives on one text, for `strata audit --against FILE`.

  tools/dump_hf.py MODEL_DIR (--text T | --ids 1,2,3) [--dtype f32|bf16] --output dump.safetensors

Tensors, all [T, columns] in the dtype of the run; n counts layers from 0; what a model does not have is absent:
  ids                                          I64 [T]
  embed_tokens, embed_in                       looked up and projected, where embeddings have a width of their own
  embed_sum, embed                             tokens and learned positions; embed is what layer 0 takes, after a norm where there is one
  Ln.resid_pre, Ln.resid_mid, Ln.resid_post    the residual stream (no resid_mid where attention and MLP run in parallel)
  Ln.attn_norm, Ln.mlp_norm, final_norm        norms before the halves and the head
  Ln.attn_post_norm, Ln.mlp_post_norm          norms of a half's output
  Ln.attn.sum, Ln.mlp.sum                      the residual sum where the norm comes after it
  Ln.attn.q_proj|k_proj|v_proj                 projections (split where the model fuses them)
  Ln.attn.q_norm|k_norm
  Ln.attn.q_rot|k_rot                          as the attention function gets them: after the rotation
  Ln.attn.mix, Ln.attn.o_proj                  softmax(q k) v, its projection
  Ln.mlp.gate_proj|up_proj|act|down_proj       act is what down_proj takes
  Ln.mlp.router, Ln.mlp.experts, Ln.mlp.moe    mixtures: router logits, the experts' weighted sum, the same with the shared expert
  Ln.mlp.shared_gate_proj|shared_up_proj|shared_act|shared_down_proj|shared_gate
  project_out, logits
Metadata: dtype, model_type, versions. Attention and experts run in transformers' eager code, whose rounding
points are known.
Needs torch, transformers, safetensors."""
import argparse
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def child(module, *names):
    """The first of the children that exists, or None."""
    for name in names:
        found = getattr(module, name, None)
        if isinstance(found, torch.nn.Module):
            return found
    return None


def split_fused(out, config, attention):
    """Queries, keys and values of a fused projection, each [T, heads x head dim]."""
    kind, heads = config.model_type, config.num_attention_heads
    out = out.reshape(-1, out.shape[-1])
    if kind == "gpt2" or kind == "mpt":
        return out.chunk(3, dim=-1)
    if kind == "gpt_bigcode" and config.multi_query:
        dim = config.hidden_size // heads
        return out.split((heads * dim, dim, dim), dim=-1)
    if kind == "phi3":
        dim = attention.head_dim
        return out.split([n * dim for n in (heads, config.num_key_value_heads, config.num_key_value_heads)], dim=-1)
    if kind == "falcon" and (config.new_decoder_architecture or config.multi_query):
        dim = config.hidden_size // heads
        groups = config.num_kv_heads if config.new_decoder_architecture else 1
        parts = out.reshape(out.shape[0], groups, heads // groups + 2, dim)
        return [x.flatten(1) for x in (parts[:, :, :-2], parts[:, :, -2], parts[:, :, -1])]
    return [x.flatten(1) for x in out.reshape(out.shape[0], heads, 3, -1).unbind(2)]


# Norms of a block that have another meaning than their name's usual one (a second norm before the MLP).
PLACES = {
    "gemma2": {"post_attention_layernorm": "attn_post_norm", "pre_feedforward_layernorm": "mlp_norm", "post_feedforward_layernorm": "mlp_post_norm"},
    "glm4": {"post_self_attn_layernorm": "attn_post_norm", "post_attention_layernorm": "mlp_norm", "post_mlp_layernorm": "mlp_post_norm"},
    "olmo2": {"post_attention_layernorm": "attn_post_norm", "post_feedforward_layernorm": "mlp_post_norm"},
}
PLACES["gemma3_text"] = PLACES["gemma2"]
PLACES["olmo3"] = PLACES["exaone4"] = PLACES["olmo2"]
USUAL = {"post_attention_layernorm": "mlp_norm", "ln_2": "mlp_norm", "norm_2": "mlp_norm", "ln_mlp": "mlp_norm"}


class Recorder:
    def __init__(self, model):
        self.model, self.config, self.tensors, self.handles = model, model.config, {}, []
        self.attention = {}  # modules' replaced functions, to be put back

    def keep(self, name, x):
        if isinstance(x, tuple):
            x = x[0]
        x = x.detach().reshape(-1, x.shape[-1])
        narrow = x.to(self.model.dtype)
        if torch.equal(narrow.to(x.dtype), x):  # widened by the code (a router's logits), not computed so
            x = narrow
        self.tensors[name] = x.clone().contiguous()

    def on_input(self, module, name):
        if module is not None:
            hook = lambda m, args, kwargs: self.keep(name, args[0] if args else next(iter(kwargs.values())))
            self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def on_output(self, module, name):
        if module is not None:
            self.handles.append(module.register_forward_hook(lambda m, args, out: self.keep(name, out)))

    def on_parts(self, module, names, split):
        def hook(m, args, out):
            for name, part in zip(names, split(out)):
                self.keep(name, part)
        if module is not None:
            self.handles.append(module.register_forward_hook(hook))

    def watch_attention(self, attention, layer, rotates):
        """Queries and keys as the attention function gets them: after norms and rotation."""
        code = sys.modules[type(attention).__module__]
        eager = getattr(code, "eager_attention_forward", None)
        if not rotates or eager is None:
            return
        names = self.attention.setdefault(code, (eager, {}))[1]
        names[id(attention)] = layer
        if len(names) > 1:
            return

        def wrapped(module, query, key, *args, **kwargs):
            n = names.get(id(module))
            if n is not None:
                for what, x in (("q_rot", query), ("k_rot", key)):
                    x = x.transpose(1, 2)
                    self.keep(f"L{n}.attn.{what}", x.reshape(x.shape[0], x.shape[1], -1))
            return eager(module, query, key, *args, **kwargs)

        code.eager_attention_forward = wrapped

    def watch_projections(self, attention, at):
        names = [at + what for what in ("q_proj", "k_proj", "v_proj")]
        fused = child(attention, "c_attn", "query_key_value", "Wqkv", "qkv_proj")
        self.on_parts(fused, names, lambda out: split_fused(out, self.config, attention))
        for name in names if fused is None else ():
            self.on_output(child(attention, name[len(at):]), name)
        for what, *spellings in (("q_norm", "q_norm", "q_layernorm"), ("k_norm", "k_norm", "k_layernorm")):
            def heads(m, args, out, what=what):
                if out.dim() == 4 and out.shape[1] != self.n_tokens:  # [1, heads, T, head dim]
                    out = out.transpose(1, 2)
                self.keep(at + what, out.reshape(self.n_tokens, -1))
            norm = child(attention, *spellings)
            if norm is not None:
                self.handles.append(norm.register_forward_hook(heads))
        out = child(attention, "o_proj", "c_proj", "dense", "out_proj")
        self.on_input(out, at + "mix")
        self.on_output(out, at + "o_proj")

    def watch_gated(self, mlp, at, prefix=""):
        """Gate, up, what the last projection takes, and it."""
        names = [at + prefix + what for what in ("gate_proj", "up_proj")]
        fused = child(mlp, "gate_up_proj", "input_linear")
        self.on_parts(fused, names, lambda out: out.chunk(2, dim=-1))
        if fused is None:
            self.on_output(child(mlp, "gate_proj"), names[0])
            self.on_output(child(mlp, "up_proj", "c_fc", "fc1", "dense_h_to_4h", "fc_in"), names[1])
        down = child(mlp, "down_proj", "c_proj", "fc2", "dense_4h_to_h", "fc_out", "output_linear")
        self.on_input(down, at + prefix + "act")
        self.on_output(down, at + prefix + "down_proj")

    def watch_mlp(self, block, at):
        mlp, moe = child(block, "mlp", "block_sparse_moe", "ffn", "feed_forward"), child(block, "block_sparse_moe")
        if child(mlp, "experts") is None and child(mlp, "router") is None:
            self.watch_gated(block if mlp is None else mlp, at)
            return
        router, shared = child(mlp, "gate", "router"), child(mlp, "shared_expert")
        self.on_output(child(router, "layer") or router, at + "router")
        if shared is not None:
            self.on_output(child(mlp, "experts"), at + "experts")
            self.on_output(child(mlp, "shared_expert_gate"), at + "shared_gate")
            self.watch_gated(shared, at, "shared_")
            self.on_output(mlp, at + "moe")
        elif child(block, "shared_mlp") is not None and moe is not None:
            shared = child(block, "shared_mlp")
            self.on_output(moe, at + "experts")
            self.watch_gated(shared, at, "shared_")
            # no module gives the sum of both: this one line of the block is repeated here, and judged by what comes after it
            add = lambda m, args, out: self.keep(at + "moe", self.tensors[at + "experts"] + self.tensors[at + "shared_down_proj"])
            self.handles.append(shared.register_forward_hook(add))
        else:
            self.on_output(mlp, at + "moe")

    def watch_norms(self, block, at):
        kind, places = self.config.model_type, PLACES.get(self.config.model_type, USUAL)
        self.on_output(child(block, "input_layernorm", "ln_1", "norm_1", "ln_attn"), at + "attn_norm")
        for name, place in places.items():
            norm = child(block, name)
            self.on_output(norm, at + place)
            if place == "mlp_norm" and not self.parallel:
                self.on_input(norm, at + "resid_mid")
        if places is PLACES["olmo2"]:
            self.on_input(child(block, "mlp"), at + "resid_mid")
        if kind == "opt":
            first, second = child(block, "self_attn_layer_norm"), child(block, "final_layer_norm")
            before = self.config.do_layer_norm_before
            self.on_output(first, at + ("attn_norm" if before else "resid_mid"))
            self.on_output(second, at + ("mlp_norm" if before else "resid_post"))
            self.on_input(second, at + ("resid_mid" if before else "mlp.sum"))
            if not before:
                self.on_input(first, at + "attn.sum")

    def watch_layer(self, n, block, rotates):
        at = f"L{n}."
        self.on_input(block, at + "resid_pre")
        self.on_output(block, at + "resid_post")
        self.watch_norms(block, at)
        attention = child(block, "self_attn", "attn", "attention", "self_attention")
        attention = child(attention, "attention") or attention
        self.watch_projections(attention, at + "attn.")
        self.watch_attention(attention, n, rotates)
        self.watch_mlp(block, at + "mlp.")

    def run(self, ids):
        self.n_tokens = len(ids)
        body = child(self.model, "model", "transformer", "gpt_neox")
        body = child(body, "decoder") or body
        blocks = child(body, "layers", "h", "blocks")
        rotates = any("rotary" in name for name, _ in body.named_modules())
        c = self.config
        self.parallel = c.model_type in ("cohere", "cohere2", "phi", "gptj") or getattr(c, "use_parallel_residual", False) \
            or (c.model_type == "falcon" and (c.new_decoder_architecture or c.parallel_attn))
        for n, block in enumerate(blocks):
            self.watch_layer(n, block, rotates)
        self.on_input(child(body, "word_embeddings_layernorm"), "embed_sum")
        if child(body, "project_in") is not None:
            self.on_output(child(body, "embed_tokens"), "embed_tokens")
            self.on_output(child(body, "project_in"), "embed_in")
            self.on_output(child(body, "project_out"), "project_out")
        self.on_output(child(body, "norm", "ln_f", "norm_f", "final_layernorm", "final_layer_norm"), "final_norm")
        try:
            with torch.no_grad():
                logits = self.model(torch.tensor([ids]), use_cache=False).logits
        finally:
            for handle in self.handles:
                handle.remove()
            for code, (eager, _) in self.attention.items():
                code.eager_attention_forward = eager
        self.tensors["embed"] = self.tensors["L0.resid_pre"].clone()
        self.keep("logits", logits)
        self.tensors["ids"] = torch.tensor(ids, dtype=torch.int64)
        return self.tensors


def dump(model, ids, path):
    """Runs the model on the ids and writes the file."""
    tensors = Recorder(model).run(ids)
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    metadata = {"dtype": str(tensors["embed"].dtype).replace("torch.", ""), "model_type": model.config.model_type, **versions}
    save_file(tensors, path, metadata=metadata)
    return tensors


def load(model_dir, dtype, **changes):
    """The model in eval mode; changes override its configuration."""
    options = {"dtype": DTYPES[dtype], "attn_implementation": "eager", **changes}
    config = AutoConfig.from_pretrained(model_dir)
    if config.model_type == "falcon" and config.alibi and "attn_implementation" not in changes:  # its eager code adds ALiBi twice (transformers 5.23)
        options["attn_implementation"] = "sdpa"
    try:
        model = AutoModelForCausalLM.from_pretrained(model_dir, experts_implementation="eager", **options)
    except (TypeError, ValueError):
        model = AutoModelForCausalLM.from_pretrained(model_dir, **options)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description="Dump the operations of a Hugging Face model for strata audit.")
    parser.add_argument("model_dir")
    parser.add_argument("--text")
    parser.add_argument("--ids", help="1,2,3")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="f32")
    parser.add_argument("--output", default="dump.safetensors")
    a = parser.parse_args()
    if (a.text is None) == (a.ids is None):
        parser.error("expected either --text or --ids")
    ids = [int(i) for i in a.ids.split(",")] if a.ids else AutoTokenizer.from_pretrained(a.model_dir)(a.text)["input_ids"]
    tensors = dump(load(a.model_dir, a.dtype), ids, a.output)
    print(f"{a.output}: {len(tensors)} tensors of {len(ids)} tokens, {a.dtype}")


if __name__ == "__main__":
    main()
