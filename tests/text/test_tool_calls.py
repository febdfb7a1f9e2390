"""The notations of tool calls: templates write them, the table reads them, grammars make them."""

from __future__ import annotations

import html
import json
import re

import llguidance
import pytest

import genfast
from genfast.chat import render
from genfast.chat_tools import ChatTools
from genfast.guided_vocabulary import Vocabulary
from genfast.tool_calls import (
    ARGUMENTS,
    FORMATS,
    ID,
    INDEX,
    KEY,
    NAME,
    PLAIN,
    VALUE,
    ToolCall,
    format_of,
    read_calls,
)
from genfast.tool_grammar import tool_grammar

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Its name."},
                    "days": {"type": "integer", "description": "How many."},
                    "unit": {"enum": ["C", "F"], "type": "string", "description": "Of degrees."},
                },
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "A sum.",
            "parameters": {
                "type": "object",
                "properties": {
                    "a": {"type": "number", "description": "This."},
                    "b": {"type": "number", "description": "That."},
                },
                "required": ["a", "b"],
            },
        },
    },
]
SCHEMAS = {tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS}
CALLS = [("get_weather", {"city": "7", "days": 3}), ("add", {"a": 1.5, "b": -2})]
EVERY = [*FORMATS, PLAIN]


def written(form, calls) -> str:
    """The calls as the notation has them."""
    texts = []
    for index, (name, arguments) in enumerate(calls):
        if form.parameter:
            each = []
            for key, value in arguments.items():
                text = value if form.raw and isinstance(value, str) else json.dumps(value)
                each.append(form.parameter.replace(KEY, key).replace(VALUE, text))
            body = form.comma.join(each)
        else:
            body = json.dumps(arguments)
        text = form.call.replace(NAME, name).replace(ID, "abcdefgh1").replace(INDEX, str(index))
        texts.append(text.replace(ARGUMENTS, body))
    return form.before + form.between.join(texts) + form.after


def pairs(calls: list[ToolCall]):
    return [(call.name, call.arguments) for call in calls]


# --- real templates ------------------------------------------------------------------------------

TEMPLATES = {  # what their families are called in the table; those of other notations are left out
    "deepseek-r1": ["deepseek-ai-DeepSeek-R1-Distill-Qwen-32B"],
    "deepseek-v3.1": ["deepseek-ai-DeepSeek-V3.1"],
    "kimi": ["moonshotai-Kimi-K2"],
    "mistral-v11": ["Mistral-Small-3.2-24B-Instruct-2506", "v11"],
    "mistral-v13": ["mistralai-Ministral-3-14B-Reasoning-2512", "v13", "v15"],
    "mistral": ["mistralai-Mistral-Nemo-Instruct-2407", "v2", "v3", "v3_spm", "v7"],
    "glm": ["GLM-4.6", "GLM-4.7-Flash", "GLM-5.2"],
    "seed": ["ByteDance-Seed-OSS"],
    "qwen3-coder": ["Qwen3-Coder", "Qwen3.5-4B", "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16"],
    "functionary-v3.1": ["meetkai-functionary-medium-v3.1"],
    "functionary-v3.2": ["meetkai-functionary-medium-v3.2"],
    "apertus": ["Apertus-8B-Instruct"],
    "apriel": ["unsloth-Apriel-1.5", "Apriel-1.6-15b-Thinker-fixed"],
    "command-r7b": ["CohereForAI-c4ai-command-r7b-12-2024-tool_use"],
    "hermes": [
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
        "Qwen-Qwen2.5-7B-Instruct",
        "Qwen-Qwen3-0.6B",
        "Qwen-QwQ-32B",
    ],
    "llama-3": ["meta-llama-Llama-3.1-8B-Instruct", "meta-llama-Llama-3.3-70B-Instruct"],
}


def reply(template: str, calls) -> str:
    """What the template makes of an assistant's message with these calls."""
    user = [{"role": "user", "content": "Well?"}]
    options = {"tools": TOOLS, "bos_token": "", "eos_token": "", "add_generation_prompt": False}
    before = render(template, user, **options)
    for text in (False, True):  # functionary wants arguments as text
        entries = [
            ToolCall(name, json.dumps(arguments) if text else arguments, f"abcdefgh{i}").to_dict()
            for i, (name, arguments) in enumerate(calls)
        ]
        message = {"role": "assistant", "content": "", "tool_calls": entries}
        try:
            whole = render(template, [*user, message], **options)
        except ValueError:
            continue
        assert whole.startswith(before)
        return whole[len(before) :]
    raise AssertionError("the template takes no calls")


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, names in TEMPLATES.items() for name in names]
)
def test_what_real_templates_write_is_read(data, family, name):
    (path,) = (data / "templates").rglob(f"{name}.jinja")
    template = path.read_text()
    form = format_of(template)
    assert form.name == family
    calls = CALLS[:1] if family == "llama-3" else CALLS  # its template takes one a message
    text = html.unescape(reply(template, calls))  # some Mistral templates escape their quotes
    text = text.replace("<|start_header_id|>assistant<|end_header_id|>", "").replace(
        ">>>get", "get", 1
    )
    assert pairs(read_calls(form, text, SCHEMAS)) == calls
    # and the table writes what the template writes, but for white space and optional ids
    bare = re.sub(r', "id": "\w+"', "", text)
    bare = re.sub(r"abcdefgh\d", "abcdefgh1", bare)
    assert re.sub(r"\s", "", written(form, calls)) in re.sub(r"\s", "", bare)


def test_every_family_but_the_pythonic_has_a_template_here():
    assert {form.name for form in FORMATS} - set(TEMPLATES) == {"pythonic"}


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", EVERY, ids=lambda form: form.name)
def test_what_is_written_is_read(form):
    text = written(form, CALLS)
    assert pairs(read_calls(form, text, SCHEMAS)) == CALLS
    if form.opening and form.opening[0] == "<":
        assert pairs(read_calls(form, f"I shall look.\n{text}", SCHEMAS)) == CALLS


@pytest.mark.parametrize("form", EVERY, ids=lambda form: form.name)
def test_a_reply_that_was_cut_off_has_its_complete_calls(form):
    text = written(form, CALLS)
    for end in range(len(text)):
        found = pairs(read_calls(form, text[:end], SCHEMAS))
        assert found in ([], CALLS[:1], CALLS), text[:end]


@pytest.mark.parametrize("form", EVERY, ids=lambda form: form.name)
@pytest.mark.parametrize(
    "text", ["", "It rains.", "{", "[", '{"a": 1}', "[1, 2]", "f(", "<", "\x00"]
)
def test_other_text_holds_no_calls(form, text):
    assert read_calls(form, text, SCHEMAS) == []


def test_unknown_names_are_no_calls():
    text = written(PLAIN, [("delete_everything", {})])
    assert read_calls(PLAIN, text, SCHEMAS) == []


def test_ids_are_those_of_the_reply_or_made_from_it():
    (mistral,) = [form for form in FORMATS if form.name == "mistral-v11"]
    assert read_calls(mistral, written(mistral, CALLS), SCHEMAS)[0].id == "abcdefgh1"
    first, second = read_calls(PLAIN, written(PLAIN, CALLS), SCHEMAS, b"a")
    assert first.id != second.id and re.fullmatch("[0-9a-f]{9}", first.id)
    assert read_calls(PLAIN, written(PLAIN, CALLS), SCHEMAS, b"b")[0].id != first.id
    assert read_calls(PLAIN, written(PLAIN, CALLS), SCHEMAS, b"a")[0].id == first.id


def test_pythonic_constants():
    (form,) = [form for form in FORMATS if form.name == "pythonic"]
    text = "[f(a=True, b=[1, None], c={'k': -1.5}), g(x=false, y=null)]"
    found = pairs(read_calls(form, text, {"f": {}, "g": {}}))
    assert found == [
        ("f", {"a": True, "b": [1, None], "c": {"k": -1.5}}),
        ("g", {"x": False, "y": None}),
    ]
    assert read_calls(form, "[f(__import__('os').system('true'))]", {"f": {}}) == []
    assert read_calls(form, "[f(a=__import__('os'))]", {"f": {}}) == []


# --- grammars ------------------------------------------------------------------------------------


class Grammar:
    """Whether a text is a reply, by llguidance over the bundled tokenizer."""

    def __init__(self, tokenizer, size):
        self._tokenizer = tokenizer
        words = Vocabulary(tokenizer, size, "tools")
        self._words = llguidance.LLTokenizer(
            words, n_vocab=len(words.tokens), eos_token=words.eos_token_id
        )

    def takes(self, lark: str, text: str) -> bool:
        matcher = llguidance.LLMatcher(
            self._words, llguidance.LLMatcher.grammar_from_lark(lark), log_level=0
        )
        assert not matcher.is_error(), matcher.get_error()
        tokens = self._words.tokenize_str(text)
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()


@pytest.fixture(scope="module")
def model():
    with genfast.load() as model:
        yield model


@pytest.fixture(scope="module")
def grammar(model):
    return Grammar(model.tokenizer, model.vocab_size)


@pytest.mark.parametrize("form", EVERY, ids=lambda form: form.name)
def test_a_grammar_takes_calls_that_match_and_no_others(form, grammar, model):
    def takes(text, free=False, several=True, functions=SCHEMAS):
        lark = tool_grammar(form, functions, model.tokenizer, free=free, several=several)
        return grammar.takes(lark, text)

    strict = {name: {**schema, "additionalProperties": False} for name, schema in SCHEMAS.items()}
    good = written(form, CALLS)
    assert takes(good) and takes(good, free=True)
    assert takes(written(form, CALLS[:1]), several=False) and not takes(good, several=False)
    assert not takes("It rains.") and takes("It rains.", free=True)
    if form.opening.startswith("<"):
        assert takes(f"Wait. {good}", free=True)
    for name, arguments in [
        ("get_weather", {"days": 3}),
        ("get_weather", {"city": "Ulm", "days": "many"}),
        ("get_weather", {"city": "Ulm", "unit": "K"}),
        ("get_weather", {"city": "Ulm", "who": "me"}),
        ("get_whether", {"city": "Ulm"}),
    ]:
        bad = written(form, [(name, arguments)])
        assert not takes(bad, functions=strict), bad
        if form.opening.startswith("<"):
            assert not takes(bad, free=True, functions=strict), bad


# --- the functions of a benchmark ----------------------------------------------------------------

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": None}


def as_schema(value):
    """BFCL writes Python's names of types."""
    if isinstance(value, dict):
        made = {key: as_schema(item) for key, item in value.items()}
        if isinstance(made.get("type"), str):
            made["type"] = _TYPES.get(made["type"], made["type"])
            if made["type"] is None:
                del made["type"]
        return made
    return [as_schema(item) for item in value] if isinstance(value, list) else value


def bfcl(data, count, rng):
    """(tools, calls) of some entries."""
    folder = data / "suites/bfcl-tool-calling"
    questions = [json.loads(x) for x in (folder / "BFCL_v4_parallel.json").open()]
    answers = {
        entry["id"]: entry["ground_truth"]
        for entry in map(json.loads, (folder / "answers/BFCL_v4_parallel.json").open())
    }
    for entry in rng.choice(questions, count, replace=False):
        tools = [{"type": "function", "function": as_schema(f)} for f in entry["function"]]
        yield tools, [(name, first(args)) for c in answers[entry["id"]] for name, args in c.items()]


def first(arguments):
    """Of the answers that count as right, the first; "" stands for a parameter left out."""
    return {k: v[0] for k, v in arguments.items() if v and v[0] != "" and "" not in v}


@pytest.mark.parametrize("name", ["hermes", "llama-3", "mistral", "mistral-v13", "deepseek-v3.1"])
def test_the_answers_of_a_benchmark_pass(data, rng, grammar, model, name):
    (form,) = [form for form in FORMATS if form.name == name]
    passed = 0
    for tools, calls in bfcl(data, 40, rng):
        try:
            chat = ChatTools(tools, "required", form.marks[0], model.tokenizer)
        except genfast.GrammarError as error:
            assert "tools[0].function.parameters" in str(error)
            continue
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
        text = written(form, calls)
        assert pairs(read_calls(form, text, schemas)) == calls
        passed += grammar.takes(chat.grammar, text)
    # The answers are not all of the types that the functions declare.
    assert passed > 20
