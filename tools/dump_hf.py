#!/usr/bin/env python3
"""Writes what every operation of a Hugging Face model takes and gives on one text, for `strata audit --against FILE`.

  tools/dump_hf.py MODEL_DIR (--text T | --ids 1,2,3) [--dtype f32|bf16] --output dump.safetensors

Tensors, all [T, columns] in the dtype of the run; n counts layers from 0:
  ids                                          I64 [T]
  embed                                        tokens (and learned positions) looked up
  Ln.resid_pre, Ln.resid_mid, Ln.resid_post    the residual stream
  Ln.attn_norm, Ln.mlp_norm, final_norm        norms
  Ln.attn.q_proj|k_proj|v_proj                 projections (split where the model fuses them)
  Ln.attn.q_norm|k_norm                        where the model has them
  Ln.attn.q_rot|k_rot                          after the rotation, where the model rotates
  Ln.attn.mix, Ln.attn.o_proj                  softmax(q k) v, its projection
  Ln.mlp.gate_proj|up_proj|act|down_proj       act is what down_proj takes
  Ln.mlp.router, Ln.mlp.moe                    mixtures: router logits, the mixture's output
  logits
Metadata: dtype, model_type, versions. Attention and experts run in transformers' eager code, whose rounding points are known.
Needs torch, transformers, safetensors."""
import argparse
import sys

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


def child(module, *names):
    """The first of the children that exists, or None."""
    for name in names:
        found = getattr(module, name, None)
        if isinstance(found, torch.nn.Module):
            return found
    return None


class Recorder:
    def __init__(self, model):
        self.model, self.tensors, self.handles = model, {}, []
        self.attention = {}  # modules' replaced functions, to be put back

    def keep(self, name, x):
        if isinstance(x, tuple):
            x = x[0]
        self.tensors[name] = x.detach().reshape(-1, x.shape[-1]).clone().contiguous()

    def on_input(self, module, name):
        if module is not None:
            hook = lambda m, args, kwargs: self.keep(name, args[0] if args else next(iter(kwargs.values())))
            self.handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))

    def on_output(self, module, name):
        if module is not None:
            self.handles.append(module.register_forward_hook(lambda m, args, out: self.keep(name, out)))

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

    def watch_layer(self, n, block, rotates):
        at = f"L{n}."
        self.on_input(block, at + "resid_pre")
        self.on_output(block, at + "resid_post")
        self.on_output(child(block, "input_layernorm", "ln_1"), at + "attn_norm")
        second = child(block, "post_attention_layernorm", "ln_2")
        self.on_input(second, at + "resid_mid")
        self.on_output(second, at + "mlp_norm")
        attention = child(block, "self_attn", "attn")
        for what in ("q_proj", "k_proj", "v_proj", "q_norm", "k_norm"):
            projection = child(attention, what)
            if projection is not None and what.endswith("_norm"):
                hook = lambda m, args, out, what=what: self.keep(at + "attn." + what, out.reshape(*out.shape[:2], -1))
                self.handles.append(projection.register_forward_hook(hook))
            else:
                self.on_output(projection, at + "attn." + what)
        fused = child(attention, "c_attn")
        if fused is not None:
            def split(m, args, out):
                for what, part in zip(("q_proj", "k_proj", "v_proj"), out.split(out.shape[-1] // 3, dim=-1)):
                    self.keep(at + "attn." + what, part)
            self.handles.append(fused.register_forward_hook(split))
        out = child(attention, "o_proj", "c_proj")
        self.on_input(out, at + "attn.mix")
        self.on_output(out, at + "attn.o_proj")
        self.watch_attention(attention, n, rotates)
        mlp = child(block, "mlp", "block_sparse_moe")
        if child(mlp, "experts") is not None:
            self.on_output(child(mlp, "gate"), at + "mlp.router")
            self.on_output(mlp, at + "mlp.moe")
            return
        self.on_output(child(mlp, "gate_proj"), at + "mlp.gate_proj")
        self.on_output(child(mlp, "up_proj", "c_fc"), at + "mlp.up_proj")
        down = child(mlp, "down_proj", "c_proj")
        self.on_input(down, at + "mlp.act")
        self.on_output(down, at + "mlp.down_proj")

    def run(self, ids):
        body = child(self.model, "model", "transformer")
        blocks = child(body, "layers", "h")
        rotates = any("rotary" in name for name, _ in body.named_modules())
        for n, block in enumerate(blocks):
            self.watch_layer(n, block, rotates)
        self.on_output(child(body, "norm", "ln_f"), "final_norm")
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
