#!/usr/bin/env python3
"""make_clusters.py TRAIN.conllu.gz TEXTS MODEL OUT.txt: word clusters for the part-of-speech tagger (a quarter of an hour).

TRAIN: UD English EWT. TEXTS: a folder with public-domain books as books/*.gz and WikiText-103's wikitext-103/{test,valid}.txt; they
say only which words occur. MODEL: SmolLM2-135M-Instruct (Apache 2.0) in the Hugging Face layout.

1. Words: those of TRAIN, of TEXTS (12 times in the books or twice in WikiText), and the model's own whole-word tokens.
2. Each word, after the begin token and a space, runs through the model's first 4 layers. Its vector is the last piece's residual
   stream beside the mean of its pieces' embeddings, standardised, each half of length 1; the 200 greatest principal components.
3. A small network learns from TRAIN which tags a word type takes (5 folds; a word of TRAIN is always scored by a network that
   did not see it).
4. k-means over (100 components of length 1, square roots of the 17 scores): 254 fine clusters; over their centres 60 coarse ones.
5. Words seen 60 times and more in TRAIN are clusters by themselves (255).

Lines of OUT: word, fine, coarse. Sums in other orders (threads, library versions) may move a word to another cluster: that is why
the result is committed, as clusters.txt.gz. It was made with torch 2.15 and transformers 5.23."""
import collections
import glob
import gzip
import re
import sys

import torch
from transformers import AutoModel, AutoTokenizer

TAGS = "ADJ ADP ADV AUX CCONJ DET INTJ NOUN NUM PART PRON PROPN PUNCT SCONJ SYM VERB X".split()
N_LAYERS, N_FINE, N_COARSE, OWN_COUNT = 4, 254, 60, 60
LETTERS = "[A-Za-z\u00c0-\u024f]"


def read_tags(path):
    tags = collections.defaultdict(collections.Counter)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            c = line.rstrip("\n").split("\t")
            if len(c) == 10 and c[0].isdigit():
                tags[c[1].replace("\u2019", "'")][c[3]] += 1
    return tags


def choose_words(tags, texts, tokenizer):
    books, wiki, run = collections.Counter(), collections.Counter(), re.compile(LETTERS + "+")
    for path in sorted(glob.glob(texts + "/books/*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as text:
            books.update(run.findall(text.read()))
    for split in "test", "valid":
        with open("%s/wikitext-103/%s.txt" % (texts, split), encoding="utf-8") as text:
            wiki.update(run.findall(text.read().replace("<unk>", " ")))
    words = {w for w in tags if re.search(LETTERS, w) and not re.search("[@/_'0-9]", w)}
    words |= {w for w in books if books[w] >= 12} | {w for w in wiki if wiki[w] >= 2}
    words |= {t[1:] for t in tokenizer.get_vocab() if re.fullmatch("\u0120[A-Za-z]+", t)}
    return sorted(w for w in words if len(w) < 30)


def vectors(words, tokenizer, path):
    model = AutoModel.from_pretrained(path, dtype=torch.float32).eval()
    model.layers = model.layers[:N_LAYERS]
    model.config.num_hidden_layers = N_LAYERS
    model.norm = torch.nn.Identity()
    ids = [[0] + tokenizer(" " + w, add_special_tokens=False)["input_ids"] for w in words]
    by_length = collections.defaultdict(list)
    for i, pieces in enumerate(ids):
        by_length[len(pieces)].append(i)
    streams = torch.zeros(len(words), model.config.hidden_size)
    embeddings = torch.zeros_like(streams)
    with torch.no_grad():
        for same in by_length.values():
            for k in range(0, len(same), 512):
                rows = torch.tensor(same[k:k + 512])
                batch = torch.tensor([ids[i] for i in same[k:k + 512]])
                streams[rows] = model(batch, use_cache=False).last_hidden_state[:, -1]
                embeddings[rows] = model.embed_tokens.weight[batch[:, 1:]].mean(1)
    halves = []
    for half in streams.half().float(), embeddings.half().float():
        half = (half - half.mean(0)) / (half.std(0) + 1e-6)
        halves.append(half / half.norm(dim=1, keepdim=True))
    joined = torch.cat(halves, 1)
    _, axes = torch.linalg.eigh(joined.T @ joined / len(joined))
    return joined @ axes[:, -200:].flip(1)


def tag_scores(words, tags, points):
    index = {w: i for i, w in enumerate(words)}
    known = [w for w in tags if w in index]
    rows = torch.tensor([index[w] for w in known])
    target = torch.tensor([[tags[w][t] / sum(tags[w].values()) for t in TAGS] for w in known])
    weight = torch.tensor([min(sum(tags[w].values()), 10) ** 0.5 for w in known])
    inputs = points / points.std(0)
    fold = torch.randint(0, 5, (len(known),), generator=torch.Generator().manual_seed(2))
    unknown = torch.ones(len(words), dtype=torch.bool)
    unknown[rows] = False
    scores = torch.zeros(len(words), len(TAGS))
    torch.manual_seed(1)
    for k in range(5):
        net = torch.nn.Sequential(torch.nn.Dropout(0.2), torch.nn.Linear(inputs.shape[1], 100), torch.nn.ReLU(),
                                  torch.nn.Dropout(0.3), torch.nn.Linear(100, len(TAGS)))
        optimiser = torch.optim.Adam(net.parameters(), 2e-3, weight_decay=1e-5)
        seen = (fold != k).nonzero()[:, 0]
        for _ in range(8):
            shuffled = seen[torch.randperm(len(seen))]
            for b in shuffled.split(256):
                loss = -(weight[b, None] * target[b] * net(inputs[rows[b]]).log_softmax(1)).sum() / len(b)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
        net.eval()
        with torch.no_grad():
            out = net(inputs).softmax(1)
        held_out = rows[fold == k]
        scores[held_out] = out[held_out]
        scores[unknown] += out[unknown] / 5
    return scores


def k_means(points, n_clusters, rounds):
    start = torch.randperm(len(points), generator=torch.Generator().manual_seed(3))[:n_clusters]
    centres = points[start].clone()
    for _ in range(rounds):
        nearest = ((centres * centres).sum(1)[None] - 2 * points @ centres.T).argmin(1)
        n = torch.bincount(nearest, minlength=n_clusters).float()[:, None]
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(n > 0, sums / n.clamp(min=1), centres)
    return nearest, centres


def main():
    train, texts, model, out = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(model)
    tags = read_tags(train)
    words = choose_words(tags, texts, tokenizer)
    points = vectors(words, tokenizer, model)
    scores = tag_scores(words, tags, points)
    head = points[:, :100] / points[:, :100].norm(dim=1, keepdim=True)
    fine, centres = k_means(torch.cat([head, scores.sqrt()], 1), N_FINE, 25)
    coarse, _ = k_means(torch.cat([centres[:, :100], centres[:, 100:] * 2], 1), N_COARSE, 50)
    own = {w for w in tags if sum(tags[w].values()) >= OWN_COUNT}
    with open(out, "w", encoding="utf-8") as lines:
        for i, w in enumerate(words):
            lines.write("%s\t%d\t%d\n" % (w, 255 if w in own else fine[i] + 1, 255 if w in own else coarse[fine[i]] + 1))
        listed = set(words)
        for w in tags:
            if w in own and w not in listed:
                lines.write("%s\t255\t255\n" % w)


main()
