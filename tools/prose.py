"""Prose from Project Gutenberg books: hard-wrapped lines become paragraphs; verse, tables and notes
go."""

import glob
import gzip
import re

BREAK = None  # stands where a heading stood: the next paragraph begins a document

HEADING = re.compile(r"(chapter|section|part|book|volume)\b.{,60}$", re.I)
MARKS = re.compile(  # footnote and page marks; underscores are italics
    r"\s?\[\w{1,4}\]|\s?\{\d+\}|\s?\(\d+\. [^()]*\)|^\d+\. (?=~)|[_~]"
)
STAGE = re.compile(r"[A-Z][A-Z ]{2,}|\(")  # a speaker's name or a stage direction
DIALECT = re.compile(r"\b(de|dat|dis|yo'|gointer)(?= )")
UNWANTED = re.compile(
    r"\bnigg|\bdarky|\bdarkies|\bpickaninn|\bcoon\b|gutenberg|transcriber|https?:|www\.", re.I
)
STRAIGHT_QUOTES = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'"})


def read(folder, held_out=0.03):
    """Reads folder/gutenberg/*.txt.gz, or else folder/*.txt[.gz], in the order of their names.

    Returns (training, held-out) lists of paragraphs and BREAKs: the last `held_out` of each file is
    held out.
    """
    train, held = [], []
    files = sorted(glob.glob(f"{folder}/gutenberg/*.txt.gz") or glob.glob(f"{folder}/*.txt*"))
    for file in files:
        with (gzip.open if file.endswith(".gz") else open)(file, "rt", encoding="utf-8") as f:
            found = list(paragraphs(f.read()))
        cut = int(len(found) * (1 - held_out))
        train += [BREAK, *found[:cut]]
        held += [BREAK, *found[cut:]]
    return train, held


def paragraphs(text):
    """Yields the prose paragraphs of a book, each on one line, and BREAK where a heading stood."""
    in_index = False
    for block in re.split(r"\n\s*\n", book(text)):
        lines = [line for line in block.split("\n") if line.strip()]
        paragraph = " ".join(" ".join(lines).split())
        if is_heading(paragraph):
            in_index = paragraph.startswith("INDEX")
            yield BREAK
            continue
        paragraph = MARKS.sub("", paragraph)
        if paragraph and not in_index and is_prose(paragraph, lines):
            yield paragraph


def book(text):
    """What stands between Project Gutenberg's own header and footer."""
    start = re.search(r"\*\*\* ?START OF.*\n", text)
    end = re.search(r"\*\*\* ?END OF", text)
    text = text[start.end() if start else 0 : end.start() if end else None]
    return text.replace("\r\n", "\n").translate(STRAIGHT_QUOTES)


def is_heading(paragraph):
    return (3 < len(paragraph) < 80 and paragraph.isupper()) or bool(HEADING.match(paragraph))


def is_prose(paragraph, lines):
    """Whether a paragraph, set in `lines`, reads as running text worth learning."""
    words = paragraph.split()
    indented = sum(line.startswith(" ") for line in lines) > len(lines) / 2
    verse = len(lines) > 3 and sum(map(len, lines[:-1])) / (len(lines) - 1) < 50
    play = STAGE.match(paragraph) or (DIALECT.search(paragraph) and paragraph[0] != '"')
    odd = sum(not (c.isalpha() or c in " .,;:!?'\"-()") for c in paragraph) / len(paragraph)
    capitals = sum(word[0].isupper() for word in words) / len(words)
    title = capitals > 0.4 and len(words) > 6
    whole = paragraph[0] not in "[*-" and paragraph[-1] in ".!?\"'-:;,"
    table = indented or odd > 0.02
    return whole and not (table or verse or play or title or UNWANTED.search(paragraph))
