"""A tokenizer.json small enough to bend."""

from __future__ import annotations


def tiny(**fields):
    """A tokenizer.json of single letters with <s> and </s>, byte fallback off."""
    vocab = {"<s>": 0, "</s>": 1, **{c: i + 2 for i, c in enumerate("abc▁")}}
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": i,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for i, content in enumerate(["<s>", "</s>"])
        ],
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
        "decoder": {"type": "Fuse"},
        **fields,
    }


def template(*pieces):
    ids = {"<s>": 0, "</s>": 1}
    single = [
        {"SpecialToken": {"id": p, "type_id": 0}}
        if p in ids
        else {"Sequence": {"id": p, "type_id": 0}}
        for p in pieces
    ]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in ids.items()},
    }
