"""Writes tests/text/chat_goldens.json: what transformers makes of real chat templates.

Run where transformers is installed, with ../shared/data beside the repository:

    python tools/make_chat_goldens.py

A template renders a few chats; the file keeps a hash of each text, or that it was refused. Dates
are those of FIXED_NOW, which the test sets too.
"""

from __future__ import annotations

import datetime as real_datetime
import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TEMPLATES = ROOT.parent / "shared/data/templates"
GOLDENS = ROOT / "tests/text/chat_goldens.json"
FIXED_NOW = (2024, 7, 26, 12, 30, 0)

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now> in a city & around it.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name, e.g. Zürich"},
                    "days": {"type": "integer", "enum": [1, 3, 7]},
                },
                "required": ["city"],
            },
        },
    }
]
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 3}},
}
CHATS = {
    "one question": [{"role": "user", "content": "  What's <b>1 + 1</b>? 🙂 "}],
    "system and turns": [
        {"role": "system", "content": "You are terse."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello.\n"},
        {"role": "user", "content": "Bye"},
    ],
    "parts": [{"role": "user", "content": [{"type": "text", "text": "In parts"}]}],
    "reasoning": [
        {"role": "user", "content": "1+1"},
        {"role": "assistant", "reasoning_content": "easy", "content": "2"},
        {"role": "user", "content": "2+2"},
    ],
    "no roles in turn": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
}
TOOL_CHATS = {
    "tools offered": CHATS["system and turns"],
    "tool called": [
        {"role": "user", "content": "Weather in Zürich?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {
            "role": "tool",
            "name": "weather",
            "tool_call_id": "call00001",
            "content": '{"sky": "clear"}',
        },
    ],
}
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}


def cases():
    """(name, messages, tools, add_generation_prompt) of every case."""
    for name, messages in CHATS.items():
        yield name, messages, None, True
    yield "without prompt", CHATS["system and turns"], None, False
    for name, messages in TOOL_CHATS.items():
        yield name, messages, TOOLS, True


def digest(text: str) -> str:
    """What the file keeps of a text: enough to tell any two apart."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def main() -> None:
    import transformers
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from transformers.utils import chat_template_utils

    class Clock(real_datetime.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(*FIXED_NOW)

    chat_template_utils.datetime = Clock
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocab={"a": 0}, merges=[])), **TOKENS
    )
    goldens = {"source": f"transformers {transformers.__version__}", "templates": {}}
    for path in sorted(TEMPLATES.rglob("*.jinja")):
        rows = {}
        for name, messages, tools, prompt in cases():
            try:
                text = tokenizer.apply_chat_template(
                    messages,
                    tools=tools,
                    chat_template=path.read_text(encoding="utf-8"),
                    add_generation_prompt=prompt,
                    tokenize=False,
                )
                rows[name] = digest(text)
            except Exception:  # whatever a template throws counts as a refusal
                rows[name] = None
        goldens["templates"][str(path.relative_to(TEMPLATES))] = rows
    GOLDENS.write_text(json.dumps(goldens, indent=0, ensure_ascii=False) + "\n", encoding="utf-8")
    found = [row for rows in goldens["templates"].values() for row in rows.values()]
    print(
        f"{len(found)} cases of {len(goldens['templates'])} templates, {found.count(None)} refused"
    )


if __name__ == "__main__":
    main()
