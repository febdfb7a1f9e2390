"""What requests may hold, as JSON Schemas; they are checked by these, `/openapi.json` tells them.

Ranges of sampling parameters are not here: `genfast.Sampling` checks these, in one place for all
front ends.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def _a(kind: str | list[str], text: str = "", **more: Any) -> Schema:
    return {"type": kind, **({"description": text} if text else {}), **more}


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return _a("object", required=list(required), properties=properties, additionalProperties=False)


_NUMBER, _INTEGER, _FLAG, _TEXT = _a("number"), _a("integer"), _a("boolean"), _a("string")
_IDS = _a("array", items=_INTEGER)
_UNUSED: Schema = {"description": "accepted, and without effect here"}

# Keywords of `genfast.Sampling` under their own names; the first row is OpenAI's too.
SAMPLING: dict[str, Schema] = {
    **dict.fromkeys(("temperature", "top_p", "presence_penalty", "frequency_penalty"), _NUMBER),
    **dict.fromkeys(("min_p", "typical_p", "top_n_sigma", "repetition_penalty"), _NUMBER),
    **dict.fromkeys(("xtc_probability", "xtc_threshold"), _NUMBER),
    **dict.fromkeys(("mirostat_tau", "mirostat_eta", "dry_multiplier", "dry_base"), _NUMBER),
    **dict.fromkeys(("length_penalty", "diversity_penalty", "deadline_ms"), _NUMBER),
    "guidance_scale": _NUMBER,
    "negative_prompt": _a(["string", "array"], "a text or token ids", minItems=1),
    **dict.fromkeys(("top_k", "dry_allowed_length", "no_repeat_ngram_size"), _INTEGER),
    **dict.fromkeys(("min_tokens", "num_beams", "num_beam_groups"), _INTEGER),
    **dict.fromkeys(("stop_token_ids", "suppress_tokens", "begin_suppress_tokens"), _IDS),
    "bad_words_ids": _a("array", items=_IDS),
    "ignore_eos": _FLAG,
    "early_stopping": _a(["boolean", "string"]),
    "speculate": _a(["boolean", "string"]),
    "regex": _a("string", "a regular expression that the text matches"),
    "grammar": _a("string", "a Lark grammar that the text matches"),
    "choices": _a("array", "texts, one of which is the answer", items=_TEXT),
    "n": _a("integer", minimum=1),
}

_GENERATION: dict[str, Schema] = {
    **SAMPLING,
    "model": _a("string", "the name that /v1/models tells; may be left out"),
    "max_tokens": _a("integer", minimum=1),
    "seed": _a("integer", "the same seed gives the same text, whatever else runs"),
    "stop": _a(["string", "array"], items=_TEXT),
    "logit_bias": _a("object", "token id to a number", additionalProperties=_NUMBER),
    "stream": _FLAG,
    "stream_options": _object(include_usage=_FLAG, include_obfuscation=_FLAG),
    **dict.fromkeys(("user", "metadata", "service_tier", "safety_identifier"), _UNUSED),
    **dict.fromkeys(("prompt_cache_key", "prompt_cache_retention"), _UNUSED),
}

COMPLETION = _object(
    ("prompt",),
    **_GENERATION,
    prompt=_a(["string", "array"], "a text, token ids, or a list of either", minItems=1),
    echo=_a("boolean", "begin with the prompt"),
    logprobs=_a("integer", "so many of the likeliest tokens at each place", minimum=0, maximum=20),
    best_of=_a("integer", "must equal n"),
    suffix=_a("string", "the text behind, for models that fill in the middle"),
)

_MESSAGE = _a(
    "object",
    required=["role"],
    properties={
        "role": {"enum": ["system", "developer", "user", "assistant", "tool", "function"]},
        "content": _a(["string", "array", "null"], items=_a("object", required=["type"])),
        "tool_calls": _a(["array", "null"], items=_a("object")),
        "tool_call_id": _TEXT,
        "name": _TEXT,
    },
)
_TOOL = _a(
    "object",
    required=["type", "function"],
    properties={
        "type": {"enum": ["function"]},
        "function": _a(
            "object",
            required=["name"],
            properties={
                "name": _TEXT,
                "description": _TEXT,
                "parameters": _a("object"),
                "strict": _a(["boolean", "null"]),
            },
        ),
    },
)
_FORMAT = _a(
    "object",
    required=["type"],
    properties={
        "type": {"enum": ["text", "json_object", "json_schema"]},
        "json_schema": _a(
            "object",
            required=["schema"],
            properties={"name": _TEXT, "schema": _a("object"), "strict": _a(["boolean", "null"])},
        ),
    },
)

CHAT = _object(
    ("messages",),
    **_GENERATION,
    messages=_a("array", minItems=1, items=_MESSAGE),
    max_completion_tokens=_a("integer", "instead of max_tokens", minimum=1),
    logprobs=_FLAG,
    top_logprobs=_a("integer", "needs logprobs", minimum=0, maximum=20),
    tools=_a("array", items=_TOOL),
    tool_choice=_a(["string", "object"], '"auto", "required", "none" or a function of tools'),
    parallel_tool_calls=_FLAG,
    response_format=_FORMAT,
    modalities=_a("array", items={"enum": ["text"]}),
    store=_UNUSED,
    prediction=_UNUSED,
    reasoning_effort=_UNUSED,
    verbosity=_UNUSED,
)

EMBEDDING = _object(
    ("input",),
    model=_TEXT,
    input=_a(["string", "array"], "a text, token ids, or a list of either", minItems=1),
    encoding_format={"enum": ["float", "base64"]},
    dimensions=_a("integer", "must be the model's", minimum=1),
    user=_UNUSED,
)

IMAGE = _object(
    ("prompt",),
    model=_TEXT,
    prompt=_a(["string", "integer"], "what to show: a text, or a class", minLength=1),
    negative_prompt=_TEXT,
    n=_a("integer", minimum=1),
    size=_a("string", "WIDTHxHEIGHT, or auto: the model's own"),
    steps=_INTEGER,
    guidance_scale=_NUMBER,
    scheduler=_TEXT,
    seed=_INTEGER,
    output_format={"enum": ["png", "jpeg", "webp"]},
    response_format={"enum": ["b64_json"]},
    **dict.fromkeys(("user", "quality", "style", "background", "moderation"), _UNUSED),
)

TOKENIZE = _object(
    model=_TEXT,
    prompt=_a("string", "a text; or messages"),
    messages=_a("array", "a chat, as its prompt has it", minItems=1, items=_MESSAGE),
    tools=_a("array", items=_TOOL),
    add_special_tokens=_a("boolean", "around a text, as generating adds them (true)"),
)
