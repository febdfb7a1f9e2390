"""The notations of tool calls: the table reads what it writes, grammars make it."""

from __future__ import annotations

import json
import re

import llguidance
import pytest

import genfast
from genfast.chat_tools import ChatTools
from genfast.guided_vocabulary import Vocabulary
from genfast.tool_calls import read_calls
from genfast.tool_formats import CHANNEL, FORMATS, PLAIN, TEXT
from genfast.tool_grammar import tool_grammar
from written_calls import CALLS, SCHEMAS, pairs, written

EVERY = [*FORMATS, PLAIN]


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
    plain = form.answer.replace(TEXT, "It rains.") or "It rains."
    assert not takes(plain) and takes(plain, free=True)
    if form.opening.startswith("<"):
        thought = form.thought.replace(CHANNEL, "analysis").replace(TEXT, "Wait.")
        assert takes((thought or "Wait. ") + good, free=True)
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
            chat = ChatTools(tools, "required", form.marks[0], model.tokenizer, True)
        except genfast.GrammarError as error:
            assert "tools[0].function.parameters" in str(error)
            continue
        schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in tools}
        text = written(form, calls)
        assert pairs(read_calls(form, text, schemas)) == calls
        passed += grammar.takes(chat.grammar, text)
    # The answers are not all of the types that the functions declare.
    assert passed > 20
