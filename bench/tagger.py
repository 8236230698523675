#!/usr/bin/env python3
"""tagger.py TEST.conllu [TRAIN.conllu] [--rounds 3] [--spacy_epochs 2]: UPOS accuracy and words a second of `strata tag`, of NLTK's
averaged perceptron and spaCy's tagger (its small convolutional network, untrained to begin with) both trained on TRAIN, and of
spaCy's en_core_web_sm as shipped, all on the same gold tokens, one thread each.

    python3 -m venv venv && venv/bin/pip install nltk spacy && venv/bin/python -m spacy download en_core_web_sm
    OMP_NUM_THREADS=1 taskset -c 0 venv/bin/python bench/tagger.py treebank/en_ewt-ud-test.conllu treebank/en_ewt-ud-train.conllu

Strata is timed as the whole command, reading and writing included; the others without reading, loading and training. A peer that is
not installed is named and left out. Peers see sentences in batches as they like best. Rounds are interleaved. Time is that of the
processor (user and system), so that others on the machine disturb little; the median is printed with the slowest and the fastest,
and the median ratio to Strata within a round. Training is one pass of the training set an epoch, as spaCy's documentation shows it."""
import gzip
import os
import random
import statistics
import subprocess
import sys


def read(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
        sentence, sentences = [], []
        for line in list(lines) + ["\n"]:
            columns = line.rstrip("\n").split("\t")
            if len(columns) == 10 and columns[0].isdigit():
                sentence.append((columns[1], columns[3]))
            elif not line.strip() and sentence:
                sentences.append(sentence)
                sentence = []
        return sentences


def processor_seconds():
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def measure(taggers, gold, rounds):
    """taggers: {name: function that returns the UPOS of all words in order}; the first is what the others are compared with."""
    seconds = {name: [] for name in taggers}
    given = {}
    for _ in range(rounds):
        for name, tag in taggers.items():
            begin = processor_seconds()
            given[name] = tag()
            seconds[name].append(processor_seconds() - begin)
    first = next(iter(taggers))
    for name, s in seconds.items():
        assert len(given[name]) == len(gold), (name, len(given[name]), len(gold))
        right = sum(a == b for a, b in zip(gold, given[name]))
        ratio = statistics.median(b / a for a, b in zip(seconds[first], s))
        print("%-44s UPOS %.2f %%   %8.0f words/s (%.0f to %.0f)   %.1f times Strata's time" % (
            name, 100 * right / len(gold), len(gold) / statistics.median(s), len(gold) / max(s), len(gold) / min(s), ratio),
            flush=True)


def nltk_tagger(train, test):
    from nltk.tag.perceptron import PerceptronTagger
    tagger = PerceptronTagger(load=False)
    tagger.train(train, nr_iter=5)
    tokens = [[form for form, _ in sentence] for sentence in test]
    return lambda: [t for sentence in tokens for _, t in tagger.tag(sentence)]


def spacy_run(nlp, test, name_of):
    from spacy.tokens import Doc

    def run():
        docs = [Doc(nlp.vocab, words=[form for form, _ in sentence]) for sentence in test]
        return [name_of(token) for doc in nlp.pipe(docs) for token in doc]
    return run


def spacy_trained(train, test, epochs):
    import spacy
    from spacy.tokens import Doc
    from spacy.training import Example
    random.seed(0)
    spacy.util.fix_random_seed(0)
    nlp = spacy.blank("en")
    nlp.add_pipe("tagger")  # tags are UPOS here: what it is trained on
    examples = [Example.from_dict(Doc(nlp.vocab, words=[w for w, _ in s]), {"tags": [t for _, t in s]}) for s in train]
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(epochs):
        random.shuffle(examples)
        for batch in spacy.util.minibatch(examples, size=32):
            nlp.update(batch, sgd=optimizer, drop=0.1)
    return spacy_run(nlp, test, lambda token: token.tag_)


def option(words, name, value):
    if name in words:
        i = words.index(name)
        value = int(words[i + 1])
        del words[i:i + 2]
    return value


def main():
    words = sys.argv[1:]
    rounds, epochs = option(words, "--rounds", 3), option(words, "--spacy_epochs", 2)
    if not words:
        sys.exit(__doc__)
    test, train = read(words[0]), read(words[1]) if len(words) > 1 else None
    gold = [upos for sentence in test for _, upos in sentence]
    print("%s: %d words in %d sentences" % (os.path.basename(words[0]), len(gold), len(test)))
    strata = os.path.join(os.environ.get("BUILD", "build"), "strata")

    def by_strata():
        out = subprocess.run([strata, "tag", "--conllu", words[0]], check=True, capture_output=True, text=True).stdout
        return [c[3] for c in (line.split("\t") for line in out.splitlines()) if len(c) == 10 and c[0].isdigit()]

    taggers = {"strata tag (with reading and writing)": by_strata}
    if not train:
        print("no training file was given: NLTK's and spaCy's trained taggers are left out")
    else:
        try:
            taggers["NLTK averaged perceptron, same training"] = nltk_tagger(train, test)
        except ImportError:
            print("NLTK is not installed: left out")
        try:
            taggers["spaCy tagger, same training, %d epochs" % epochs] = spacy_trained(train, test, epochs)
        except ImportError:
            print("spaCy is not installed: left out")
    try:
        import spacy
        nlp = spacy.load("en_core_web_sm", exclude=["parser", "ner", "lemmatizer", "senter"])
        taggers["spaCy en_core_web_sm as shipped"] = spacy_run(nlp, test, lambda token: token.pos_)
    except (ImportError, OSError):
        print("spaCy's en_core_web_sm is not installed: left out")
    measure(taggers, gold, rounds)


main()
