#!/usr/bin/env python3
"""tagger.py TEST.conllu [TRAIN.conllu] [--rounds 3]: UPOS accuracy and words a second of `strata tag`, of NLTK's averaged
perceptron trained on TRAIN, and of spaCy's en_core_web_sm as shipped, all on the same gold tokens, one thread each.

    python3 -m venv venv && venv/bin/pip install nltk spacy && venv/bin/python -m spacy download en_core_web_sm
    taskset -c 0 venv/bin/python bench/tagger.py treebank/en_ewt-ud-test.conllu treebank/en_ewt-ud-train.conllu

Files may be gzipped. Strata is timed as the whole command, reading and writing included; the others without reading, loading and
training. A peer that is not installed is named and left out. Peers see sentences in batches as they like best. The median of the
rounds is printed with the slowest and the fastest."""
import gzip
import os
import statistics
import subprocess
import sys
import time


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


def report(name, gold, tag, rounds):
    """tag() returns a list of UPOS for all words in order."""
    n, seconds = len(gold), []
    for _ in range(rounds):
        begin = time.perf_counter()
        given = tag()
        seconds.append(time.perf_counter() - begin)
    assert len(given) == n, (len(given), n)
    right = sum(a == b for a, b in zip(gold, given))
    print("%-40s UPOS %.2f %%   %8.0f words/s (%.0f to %.0f)" % (
        name, 100 * right / n, n / statistics.median(seconds), n / max(seconds), n / min(seconds)), flush=True)


def main():
    words = [a for a in sys.argv[1:] if not a.startswith("--")]
    rounds = 3
    if "--rounds" in sys.argv:
        rounds = int(sys.argv[sys.argv.index("--rounds") + 1])
        words.remove(str(rounds))
    if not words:
        sys.exit(__doc__)
    test = read(words[0])
    gold = [upos for sentence in test for _, upos in sentence]
    print("%s: %d words in %d sentences" % (os.path.basename(words[0]), len(gold), len(test)))

    strata = os.path.join(os.environ.get("BUILD", "build"), "strata")

    def by_strata():
        out = subprocess.run([strata, "tag", "--conllu", words[0]], check=True, capture_output=True, text=True).stdout
        return [c[3] for c in (line.split("\t") for line in out.splitlines()) if len(c) == 10 and c[0].isdigit()]

    report("strata tag (with reading and writing)", gold, by_strata, rounds)

    try:
        from nltk.tag.perceptron import PerceptronTagger
    except ImportError:
        print("NLTK is not installed: left out")
    else:
        if len(words) < 2:
            print("NLTK: no training file was given: left out")
        else:
            nltk = PerceptronTagger(load=False)
            nltk.train(read(words[1]), nr_iter=5)
            tokens = [[form for form, _ in sentence] for sentence in test]
            report("NLTK averaged perceptron, same training", gold,
                   lambda: [t for sentence in tokens for _, t in nltk.tag(sentence)], rounds)

    try:
        import spacy
        from spacy.tokens import Doc
        nlp = spacy.load("en_core_web_sm", exclude=["parser", "ner", "lemmatizer", "senter"])
    except (ImportError, OSError):
        print("spaCy or its model en_core_web_sm is not installed: left out")
    else:
        def by_spacy():
            docs = [Doc(nlp.vocab, words=[form for form, _ in sentence]) for sentence in test]
            return [token.pos_ for doc in nlp.pipe(docs) for token in doc]

        report("spaCy %s en_core_web_sm as shipped" % spacy.__version__, gold, by_spacy, rounds)


main()
