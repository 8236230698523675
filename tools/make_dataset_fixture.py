"""Writes tests/data/dataset: small data files and expected.json, what Python's own gzip, zipfile, json and str make of them.

usage: python3 tools/make_dataset_fixture.py [OUT_DIR]          (Python 3.8 or later, standard library only)
The rules are those of loaders/dataset.h, written here a second time over Python's strings.
"""
import gzip, hashlib, io, json, os, sys, zipfile

OUT = sys.argv[1] if len(sys.argv) > 1 else "tests/data/dataset"

PLAIN = ("\ufeffFirst line, spaces kept  \r\n"
         "\r\n"
         "  indented\tline\n"
         "\u00a0\u2003\u3000\x1c\x85 \n"                   # white space to str.strip()
         "zero\u200bwidth is text\n"
         "\u200b\n"                                          # ZERO WIDTH SPACE is not white space
         "a NUL \x00 and a separator \u2028 inside\n"
         "carriage \r inside\n"
         "\n\n"
         "no terminator \U0001f600")
WIKI = (" \n = First Article = \n \n Body of the first , = with a sign . \n \n = = Section = = \n \n \n = = = Deep = = = \n \n"
        " q = \n = 1 henry and capacitance C = \n of prose . \n \n = Second = \n \n Its body . \n = = Odd = \n")
WIKI_DENSE = " = One = \n body \n = = Part = = \n more \n = Two = \n body \n"
PROSE = "An asciidoc heading is no sign:\n= Title =\nplain\n"
JSONL = "\n".join([
    json.dumps({"id": 1, "text": "caf\u00e9 \u2028 \"quoted\"\n\n two lines", "length": 3}),
    "", "   ",
    json.dumps({"ended": True, "text": "nul \x00 emoji \U0001f600"}, ensure_ascii=False),
    json.dumps({"text": ""}), json.dumps({"text": " \t"}),
    '{"text": "first", "text": "the last one counts"}',
]) + "\n"
IDS = '{"ids": [1, 2, 3]}\r\n{"ids": []}\n\n{"ids": [0, 2147483647]}\n'


def lines(data):
    text = data.decode("utf-8")
    if text.startswith("\ufeff"):
        text = text[1:]
    parts = text.split("\n")
    closed = [True] * (len(parts) - 1) + [False]
    if parts[-1] == "":
        parts.pop(), closed.pop()
    return [(p[:-1] if c and p.endswith("\r") else p, c) for p, c in zip(parts, closed)]


def level(line):
    words = [w for w in line.split(" ") if w]
    left = right = 0
    while left < len(words) and words[left] == "=":
        left += 1
    while right < len(words) and words[-1 - right] == "=":
        right += 1
    return left if left == right and len(words) > 2 * left else 0


def text_rows(data, wikitext):
    ls = [l for l, _ in lines(data)]
    blank = [not l.strip() for l in ls]
    rows, article = [], -1
    for i, l in enumerate(ls):
        if blank[i]:
            continue
        kind = "plain"
        if wikitext:
            alone = (i == 0 or blank[i - 1]) and (i + 1 == len(ls) or blank[i + 1])
            n = level(l) if alone or not any(blank) else 0
            article += n == 1
            kind = "heading" if n else "body"
        rows.append({"text": l, "line": i + 1, "kind": kind, "article": article})
    joined = "\n\n".join("" if b else l + "\n" * c for (l, c), b in zip(lines(data), blank))
    return rows, joined


def json_rows(data):
    rows = []
    for i, (l, _) in enumerate(lines(data)):
        if l.strip():
            v = json.loads(l)
            rows.append({"line": i + 1, "kind": "plain", "article": -1, **{k: v[k] for k in ("text", "ids") if k in v}})
    return rows, "\n\n".join(r["text"] for r in rows) if all("text" in r for r in rows) else None


def zip_bytes(entries, method, comment=b""):
    b = io.BytesIO()
    with zipfile.ZipFile(b, "w", method) as z:
        z.comment = comment
        for name, data in entries:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = method
            z.writestr(info, data)
    return b.getvalue()


def gz(data):
    return gzip.compress(data, 9, mtime=0)


def main():
    os.makedirs(OUT, exist_ok=True)
    plain, wiki, jsonl = PLAIN.encode(), WIKI.encode(), JSONL.encode()
    files = {  # name: (bytes as stored, bytes unpacked, format, wikitext)
        "plain.txt": (plain, plain, "txt", False),
        "members.txt.gz": (gz(plain[:100]) + gz(b"") + gz(plain[100:]) + b"\0" * 7, plain, "txt", False),
        "wiki.txt": (wiki, wiki, "txt", True),
        "wiki_stored.zip": (zip_bytes([("wiki.tokens", wiki)], zipfile.ZIP_STORED, b"a comment PK\5\6"), wiki, "txt", True),
        "wiki_deflated.zip": (zip_bytes([("d/", b""), ("d/wiki.txt", wiki), ("__MACOSX/d/._wiki.txt", b"x"), ("d/.DS_Store", b"x")],
                                        zipfile.ZIP_DEFLATED), wiki, "txt", True),
        "dense.txt": (WIKI_DENSE.encode(), WIKI_DENSE.encode(), "txt", True),
        "prose.txt": (PROSE.encode(), PROSE.encode(), "txt", False),
        "rows.jsonl": (jsonl, jsonl, "jsonl", False),
        "rows.jsonl.gz": (gz(jsonl), jsonl, "jsonl", False),
        "rows.zip": (zip_bytes([("some.jsonl", jsonl)], zipfile.ZIP_DEFLATED), jsonl, "jsonl", False),
        "ids.jsonl": (IDS.encode(), IDS.encode(), "jsonl", False),
    }
    expected = []
    for name, (stored, data, form, wikitext) in files.items():
        with open(os.path.join(OUT, name), "wb") as f:
            f.write(stored)
        rows, joined = text_rows(data, wikitext) if form == "txt" else json_rows(data)
        expected.append({"file": name, "sha256": hashlib.sha256(data).hexdigest(), "wikitext": wikitext, "rows": rows, "concat": joined})
    with open(os.path.join(OUT, "two.zip"), "wb") as f:
        f.write(zip_bytes([("a.txt", b"a\n"), ("b.txt", b"b\n")], zipfile.ZIP_DEFLATED))
    with open(os.path.join(OUT, "bzip2.zip"), "wb") as f:
        f.write(zip_bytes([("a.txt", b"a\n" * 50)], zipfile.ZIP_BZIP2))
    with open(os.path.join(OUT, "expected.json"), "w", encoding="utf-8") as f:
        json.dump({"python": sys.version.split()[0], "files": expected}, f, indent=1)
        f.write("\n")


main()
