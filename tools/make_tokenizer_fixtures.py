#!/usr/bin/env python3
"""Writes tests/data/tokenizer: small tokenizers with the component structure of published ones, texts, and what the reference
libraries make of them.

    python3 tools/make_tokenizer_fixtures.py BOOK.txt.gz [more books] -> tests/data/tokenizer/

Needs tokenizers, sentencepiece, transformers and protobuf (made with tokenizers 0.23, sentencepiece 0.2, transformers 5.23).
texts.json: the texts. KIND/tokenizer.json or KIND/tokenizer.model: the tokenizer. KIND/expected.json: "ids" per text
(add_special_tokens=False), "special" (ids with add_special_tokens=True of the first text), "decoded" per text
(skip_special_tokens=False), "halves" what every second id decodes to (broken characters). The random texts are seeded: the same books give the same files.
"""
import gzip
import io
import json
import os
import random
import sys

import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data", "tokenizer")
VOCAB = 700
END = r"\s*[\r\n]+|\s+(?!\S)|\s+"
SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + END
QWEN2 = SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|" + END
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
O200K = (r"[^\r\n\p{L}\p{N}]?" + UPPER + "*" + LOWER + "+" + SUFFIX + r"?|[^\r\n\p{L}\p{N}]?" + UPPER + "+" + LOWER + "*"
         + SUFFIX + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|" + END)
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|"
             + END)
POSSESSIVE = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")

MULTI = ("日本語のテキスト。中文文本 한국어 텍스트 русский текст Ελληνικά العربية עברית हिन्दी ไทย café naïve 😀👍🏽 12345 67,890 "
         "½ ⅷ ٣٤ def f(x):\n    return x + 1\n")
PIECES = ["hello", "World", " ", "  ", "     ", "\n", "\r\n", "\r", "\t", "'s", "'LL", "’", "12", "3456789", "é", "e\u0301", "ſ",
          "'ſ", "日本", "カタカナ", "가", "\u1100\u1161", "\u1100\u1161\u11a8", "a\u0323\u0307", "a\u0307\u0323", "😀",
          "👨\u200d👩\u200d👧", "\u200b", "\ufeff", "\u0085", "\u00a0", "\u3000", "<s>", "</s>", "<unk>", "<|begin|>", "<|pad|>",
          "<tool>", " <tool> ", "<|strip|>", "\n <|strip|> \n", "<word>", "a<word>", " <word> ", "\x00", "\x01", "\x7f", "½", "Ⅷ",
          "٣", "_", "foo_bar", "{}", "();", "/*", "://", "ÅÅ", "ẞß", "Ǆ", "ــ", "ा", "नि", "ก็", "\U0001f9d1", "\u0378",
          "\U0010ffff", "a", "B", "Ω", "ϖ", "...", "—", "-", "İ", "ı", "\u212a", "▁", "▁a", "\U00011938", "\U0001e030",
          "\U00010d50", "²", "\u2167", "Ġ", "<0x0A>", "ﬁ", "\ufdfa", "\u1e9b\u0323"]


def make_texts(book):
    rng = random.Random(3)
    texts = ["Hello world", "", " ", "  ", " " * 40, "\n\n\n", "\t\t a", "\x00", "a\x00b\x00", "1234567890123456789", "it's IT'S",
             "def f(x):\n    return x\n", "a  b   c    d", " leading", "trailing ", "\r\n\r\n", MULTI, book[2000:3200],
             "e\u0301" * 20, "\u0301\u0301a", "\u1112\u1161\u11ab\u1100\u1173\u11af", "<s>", "<s> a</s> b", "<tool><tool>",
             "x  <|strip|>  y", "a<word>b <word> c", "▁▁a", "\ufeffBOM", "𝒳𝓎", "naïve ﬁne Ⅷ"]
    for _ in range(170):
        parts = []
        for _ in range(rng.randint(1, 12)):
            kind = rng.random()
            if kind < 0.7:
                parts.append(rng.choice(PIECES))
            elif kind < 0.85:
                start = rng.randint(0, len(book) - 40)
                parts.append(book[start:start + rng.randint(1, 40)])
            else:
                c = rng.choice([rng.randint(0, 0x3100), rng.randint(0, 0x3100), rng.randint(0x3100, 0x10FFFF)])
                parts.append(chr(c) if not 0xD800 <= c <= 0xDFFF else "?")
        texts.append("".join(parts))
    return texts


def added(content, **flags):
    return AddedToken(content, **{"normalized": False, **flags})


EXTRA = [added("<tool>"), added("<|strip|>", lstrip=True, rstrip=True), added("<word>", single_word=True)]


def byte_level(corpus, splits, normalizer=None, ignore_merges=False, template=False, gpt2=False):
    P = pre_tokenizers
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    steps = [s if not isinstance(s, str) else P.Split(Regex(s), "isolated") for s in splits]
    steps.append(P.ByteLevel(add_prefix_space=False, use_regex=gpt2))
    t.pre_tokenizer = P.Sequence(steps) if len(steps) > 1 else steps[0]
    if normalizer:
        t.normalizer = normalizer
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=VOCAB, initial_alphabet=sorted(P.ByteLevel.alphabet()),
                                                      special_tokens=["<|begin|>", "<|pad|>"], show_progress=False))
    t.add_tokens(EXTRA)
    if ignore_merges: # a token that no merge makes: only a whole word may become it
        j = json.loads(t.to_str())
        free = len(j["model"]["vocab"]) + len(EXTRA) + 2
        j["model"]["vocab"]["Ġ12345"] = free
        j["model"]["vocab"]["foobar"] = free + 1
        t = Tokenizer.from_str(json.dumps(j))
    if template:
        t.post_processor = processors.TemplateProcessing(single="<|begin|> $A", special_tokens=[("<|begin|>", 0)])
    return t


def spaced(corpus, metaspace=None, rstrip=False, normalized=False, drop_bytes=()):
    trained = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    names = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256) if i not in drop_bytes]
    trained.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=VOCAB + 100, special_tokens=names, limit_alphabet=150,
                                                            show_progress=False))
    j = json.loads(trained.to_str())
    j["added_tokens"] = [dict(id=i, content=c, single_word=False, lstrip=False, rstrip=rstrip and i > 0, normalized=normalized,
                              special=True) for i, c in enumerate(["<unk>", "<s>", "</s>"])]
    t = Tokenizer.from_str(json.dumps(j))
    strip = [decoders.Strip(" ", 1, 0)]
    if metaspace:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=metaspace, split=False)
    else:
        t.pre_tokenizer = None
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()] + strip)
    t.add_tokens(EXTRA)
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return t


def write(kind, t, texts):
    folder = os.path.join(OUT, kind)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer.json"), "w") as f:
        f.write(json.dumps(json.loads(t.to_str()), ensure_ascii=False, separators=(",", ":")))
    t = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    ids = [t.encode(x, add_special_tokens=False).ids for x in texts]
    write_expected(folder, ids, t.encode(texts[0]).ids, [t.decode(i, skip_special_tokens=False) for i in ids],
                   [t.decode(i[::2], skip_special_tokens=False) for i in ids])


def write_expected(folder, ids, special, decoded, halves=None):
    with open(os.path.join(folder, "expected.json"), "w") as f:
        json.dump({"ids": ids, "special": special, "decoded": decoded, "halves": halves}, f, ensure_ascii=False, separators=(",", ":"))


def write_sentencepiece(kind, corpus, texts):
    from transformers import LlamaTokenizer
    folder = os.path.join(OUT, kind)
    os.makedirs(folder, exist_ok=True)
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_writer=model, model_type="bpe", vocab_size=VOCAB + 100, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.99, minloglevel=2)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as f:
        f.write(model.getvalue())
    t = LlamaTokenizer.from_pretrained(folder)
    # Ids from sentencepiece itself: transformers 5 gives no prefix to a text that begins with a space, published Llama 2 files
    # and sentencepiece do. It knows no control tokens in a text: those texts are left out (null).
    own = sentencepiece.SentencePieceProcessor(os.path.join(folder, "tokenizer.model"))
    control = ("<s>", "</s>", "<unk>")
    ids = [None if any(c in x for c in control) else own.encode(x) for x in texts]
    write_expected(folder, ids, [own.bos_id()] + own.encode(texts[0]),
                   [i and t.decode(i, skip_special_tokens=False) for i in ids])


def main():
    books = "".join(gzip.open(p, "rt", encoding="utf-8").read()[:400000] for p in sys.argv[1:])
    corpus = [line + "\n" for line in books.split("\n")] + [MULTI] * 40
    texts = make_texts(books)
    P = pre_tokenizers
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "texts.json"), "w") as f:
        json.dump(texts, f, ensure_ascii=True, separators=(",", ":"))
    kinds = {
        "llama3": byte_level(corpus, [LLAMA3], ignore_merges=True, template=True),
        "gpt2": byte_level(corpus, [], gpt2=True),
        "qwen2": byte_level(corpus, [QWEN2], normalizers.NFC()),
        "smollm": byte_level(corpus, [P.Digits(individual_digits=True)], gpt2=True),
        "deepseek": byte_level(corpus, [r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK3]),
        "o200k": byte_level(corpus, [O200K]),
        "possessive": byte_level(corpus, [POSSESSIVE]),
        "falcon": byte_level(corpus, [P.Punctuation("contiguous"), P.Digits(individual_digits=False)], normalizers.NFKC(), gpt2=True),
        "llama2": spaced(corpus),
        "llama2_first": spaced(corpus, metaspace="first"),
        "always": spaced(corpus, metaspace="always", drop_bytes=range(0x80, 0xC4)),
        "phi3": spaced(corpus, rstrip=True),
        "normalized": spaced(corpus, normalized=True),
    }
    for kind, t in kinds.items():
        write(kind, t, texts)
    write_sentencepiece("spm", corpus, texts)


main()
