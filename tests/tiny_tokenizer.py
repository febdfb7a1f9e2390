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


def code_llama():
    """Code Llama's: byte fallback, a space before every text, and the tokens of infilling."""
    pieces = [
        "<unk>",
        "<s>",
        "</s>",
        *(f"<0x{i:02X}>" for i in range(256)),
        *"▁ab",
        "▁a",
        "▁▁",
        "ab",
    ]
    pieces += ["▁ab", "☺"]
    vocab = {piece: i for i, piece in enumerate(pieces)}
    special = ["<unk>", "<s>", "</s>", "▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>"]
    base = tiny()["added_tokens"][0]
    for token in special[3:]:
        vocab[token] = len(vocab)
    return tiny(
        added_tokens=[{**base, "id": vocab[token], "content": token} for token in special],
        normalizer={
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        post_processor={
            **template("<s>", "A"),
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        decoder={
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        },
        model={
            "type": "BPE",
            "vocab": vocab,
            "merges": ["▁ a", "▁ ▁", "a b", "▁a b"],
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
        },
    )
