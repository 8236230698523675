#!/usr/bin/env python3
"""make_sample.py TEST.conllu[.gz] OUT.conllu: every sixth sentence of UD English EWT's test set, with ID, FORM, UPOS and XPOS
only, for tests/test_tagger.c and bench/tagger.py."""
import gzip
import sys


def sentences(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as lines:
        words = []
        for line in lines:
            columns = line.rstrip("\n").split("\t")
            if len(columns) == 10 and columns[0].isdigit():
                words.append(columns)
            elif not line.strip() and words:
                yield words
                words = []
        if words:
            yield words


def main():
    with open(sys.argv[2], "w", encoding="utf-8") as out:
        for number, words in enumerate(sentences(sys.argv[1])):
            if number % 6:
                continue
            for c in words:
                out.write("\t".join([c[0], c[1], "_", c[3], c[4], "_", "_", "_", "_", "_"]) + "\n")
            out.write("\n")


main()
