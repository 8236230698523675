#!/usr/bin/env python3
"""Makes tests/data/tokenizer/presets.json: for each name of tokenizer.ggml.pre the ids that the Hugging Face tokenizers library gives with
that model family's own normalizer and pre-tokenizer, over the vocabulary of tests/data/tokenizer/gpt2 without its added tokens.

    make_preset_fixtures.py          (from the repository root)

The components are those of the families' published tokenizer.json. Made with tokenizers 0.22.
"""

import json

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers as P

END = r"\s*[\r\n]+|\s+(?!\S)|\s+"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + END
QWEN2 = SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + END
QWEN35 = SUFFIX + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|" + END
SEED = SUFFIX + "|[^\r\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\r\n]+|" + END
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(suffix, digits):
    return (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + suffix + r"|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*" + suffix
            + "|" + digits + r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + END)


DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
             + END)
BLOOM = " ?[^(\\s|[.,!?…。，、।۔،])]+"


def split(regex):
    return P.Split(Regex(regex), "isolated")


BYTES, GPT2 = P.ByteLevel(add_prefix_space=False, use_regex=False), P.ByteLevel(add_prefix_space=False)
PRESETS = {
    # name: (normalizer, pre-tokenizers, ignore_merges)
    "gpt-2": (None, [GPT2], False),
    "smollm": (None, [P.Digits(individual_digits=True), GPT2], False),
    "command-r": (normalizers.NFC(), [P.Digits(individual_digits=True), GPT2], False),
    "llama-bpe": (None, [split(LLAMA3), BYTES], True),
    "dbrx": (None, [split(LLAMA3), BYTES], False),
    "qwen2": (normalizers.NFC(), [split(QWEN2), BYTES], False),
    "stablelm2": (None, [split(QWEN2), BYTES], False),
    "qwen35": (normalizers.NFC(), [split(QWEN35), BYTES], False),
    "falcon": (None, [P.Punctuation("contiguous"), GPT2, P.Digits(individual_digits=False), split("[0-9][0-9][0-9]")], False),
    "bloom": (None, [split(BLOOM), BYTES], False),
    "gpt-4o": (None, [split(cased(SUFFIX + "?", r"\p{N}{1,3}")), BYTES], False),
    "tekken": (None, [split(cased("", r"\p{N}")), BYTES], True),
    "deepseek-v3": (None, [split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK3), BYTES], False),
    "seed-coder": (None, [split(SEED), BYTES], False),
}


def main():
    folder = "tests/data/tokenizer/"
    texts = json.load(open(folder + "texts.json"))
    model = json.load(open(folder + "gpt2/tokenizer.json"))
    model.update(added_tokens=[], normalizer=None, pre_tokenizer=None, post_processor=None)
    out = {}
    for name, (normalizer, parts, ignore_merges) in PRESETS.items():
        model["model"]["ignore_merges"] = ignore_merges
        t = Tokenizer.from_str(json.dumps(model))
        if normalizer:
            t.normalizer = normalizer
        t.pre_tokenizer = P.Sequence(parts)
        out[name] = [t.encode(x, add_special_tokens=False).ids for x in texts[:120]]
    with open(folder + "presets.json", "w") as f:
        json.dump(out, f, separators=(",", ":"))


main()
