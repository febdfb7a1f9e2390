"""Chats with tools: whatever a model would say, the calls are there and match their schemas."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import llguidance
import pytest

import genfast
from genfast.guided_vocabulary import Vocabulary
from genfast.tokenizer import load_tokenizer
from genfast.tool_calls import read_calls
from genfast.tool_formats import FORMATS
from genfast.tool_grammar import tool_grammar

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "find",
            "parameters": {
                "type": "object",
                "properties": {
                    "where": {"type": "string", "maxLength": 8},
                    "most": {"type": "integer", "minimum": 1, "maximum": 9},
                },
                "required": ["where"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "light",
            "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}},
        },
    },
]
SCHEMAS = {t["function"]["name"]: t["function"]["parameters"] for t in TOOLS}
MESSAGES = [{"role": "user", "content": "Where is the lamp?"}]
TEMPLATE = "{{ messages[0].content }}{% if tools %} {{ tools | length }} tools{% endif %}\n"


@pytest.fixture(scope="module")
def model():
    with genfast.load() as model:
        yield model


@pytest.fixture
def chat(model, monkeypatch):
    """A chat by a template that shows a notation."""

    def ask(mark="<tool_call>", **options):
        monkeypatch.setattr(model.tokenizer, "chat_template", TEMPLATE + "{# " + mark + " #}")
        options = {"temperature": 1.0, "seed": 1, "max_tokens": 200, "tools": TOOLS, **options}
        return model.chat(MESSAGES, **options)

    return ask


def check(calls):
    for call in calls:
        jsonschema.validate(call.arguments, SCHEMAS[call.name])
        assert set(call.arguments) <= set(SCHEMAS[call.name]["properties"])


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_required_calls_come_in_every_notation(chat, form):
    for seed in range(3):
        out = chat(form.marks[0], tool_choice="required", seed=seed)
        if out.finish_reason == "stop":
            assert out.tool_calls, out.text
        check(out.tool_calls)
    out = chat(form.marks[0], tool_choice={"name": "light"})
    assert [call.name for call in out.tool_calls] == ["light"]
    assert out.finish_reason == "stop"
    check(out.tool_calls)


def test_a_named_tool_may_be_named_as_openai_does(chat):
    choice = {"type": "function", "function": {"name": "find"}}
    out = chat(tool_choice=choice)
    assert [call.name for call in out.tool_calls] == ["find"]


def test_auto_says_what_it_would_say_without_a_grammar(chat, model):
    """The same tokens as an unguided run of the same prompt, as long as no call begins."""
    guided = chat(temperature=0, max_tokens=60)
    ids = model.chat_ids(MESSAGES, tools=TOOLS)
    assert guided.token_ids == model.generate(ids, temperature=0, max_tokens=60).token_ids


def test_none_hides_the_tools(chat, model):
    out = chat(tool_choice="none", temperature=0)
    plain = chat(tools=None, temperature=0)
    assert out.token_ids == plain.token_ids and out.tool_calls == []


def test_streams_end_with_the_calls(chat):
    whole = chat(tool_choice="required")
    chunks = list(chat(tool_choice="required", stream=True))
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert chunks[-1].tool_calls == whole.tool_calls != []
    assert all(chunk.tool_calls == [] for chunk in chunks[:-1])


def test_every_choice_has_its_calls(chat):
    out = chat(tool_choice="required", n=3)
    assert all(choice.tool_calls for choice in out.choices)
    ids = [call.id for choice in out.choices for call in choice.tool_calls]
    assert len(set(ids)) == len(ids)


def test_a_call_goes_into_the_next_turn(chat, model):
    (call,) = chat(tool_choice={"name": "light"}).tool_calls
    turn = [
        *MESSAGES,
        {"role": "assistant", "tool_calls": [call.to_dict()]},
        {"role": "tool", "tool_call_id": call.id, "content": "done"},
    ]
    assert model.chat(turn, max_tokens=3).finish_reason in ("length", "stop")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tool_choice": "maybe"}, "tool_choice='maybe' is not allowed"),
        ({"tool_choice": {"name": "dig"}}, "tool_choice names 'dig'; the tools are: find, light"),
        ({"tool_choice": "required", "tools": None}, "tool_choice='required' needs tools"),
        ({"regex": "a"}, "tools and regex exclude each other"),
        ({"tools": [{"function": {}}]}, r"tools\[0\].function.name is None"),
        ({"tools": [TOOLS[0], TOOLS[0]]}, r"tools\[1\]: there is a tool named 'find' already"),
        (
            {"tools": [{"function": {"name": "f", "parameters": {"type": "array"}}}]},
            r"tools\[0\].function.parameters.type is 'array'",
        ),
    ],
)
def test_mistakes_are_named(chat, options, words):
    with pytest.raises(ValueError, match=words):
        chat(**options)


def test_a_schema_that_cannot_be_followed_is_named_and_may_be_let_be(chat):
    parameters = {"properties": {"a": {"not": {"type": "null"}}}}
    function = {"name": "f", "parameters": parameters}
    with pytest.raises(genfast.GrammarError, match=r'tools\[0\].*"not" \(at #/properties/a/not\)'):
        chat(tools=[{"function": function}])
    out = chat(tools=[{"function": {**function, "strict": False}}], tool_choice="required")
    assert all(call.name == "f" for call in out.tool_calls)


# --- notations whose marks are special tokens ----------------------------------------------------

SPECIAL = ["[TOOL_CALLS]", "[ARGS]", "[THINK]", "<｜tool▁calls▁begin｜>", "<｜tool▁call▁begin｜>"]
SPECIAL += ["<｜tool▁sep｜>", "<｜tool▁call▁end｜>", "<｜tool▁calls▁end｜>", "｜DSML｜"]
SPECIAL += ["<|start|>", "<|channel|>", "<|constrain|>", "<|message|>", "<|end|>", "<|call|>"]
SPECIAL += ["<|tool_call>", "<tool_call|>", '<|"|>', "<|tool_call_start|>", "<|tool_call_end|>"]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """The bundled one, and behind its tokens those of the notations."""
    source = Path(genfast.__file__).parent / "data/default"
    directory = tmp_path_factory.mktemp("special")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, directory)
    data = json.loads((directory / "tokenizer.json").read_text())
    example = data["added_tokens"][0]
    for index, content in enumerate(SPECIAL):
        data["added_tokens"].append({**example, "id": 4096 + index, "content": content})
    (directory / "tokenizer.json").write_text(json.dumps(data))
    return load_tokenizer(directory, {})


@pytest.fixture(scope="module")
def takes(tokenizer):
    """Whether tokens are a reply by a grammar."""
    words = Vocabulary(tokenizer, 4096 + len(SPECIAL), "tools")
    view = llguidance.LLTokenizer(words, n_vocab=len(words.tokens), eos_token=words.eos_token_id)

    def takes(lark, ids):
        matcher = llguidance.LLMatcher(view, llguidance.LLMatcher.grammar_from_lark(lark))
        assert not matcher.is_error(), matcher.get_error()
        if isinstance(ids, str):
            ids = view.tokenize_str(ids)
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

    return takes


@pytest.mark.parametrize("name", ["mistral", "mistral-v13", "deepseek-v3.1"])
def test_special_tokens_open_calls_and_text_cannot(tokenizer, takes, name):
    (form,) = [form for form in FORMATS if form.name == name]
    lark = tool_grammar(form, SCHEMAS, tokenizer, free=True, several=True)
    text = form.opening + "light" + form.call.partition("⟨name⟩")[2] + form.after
    text = text.replace("⟨arguments⟩", '{"on": true}')
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids[0] >= 4096, "the notation begins with a special token"
    thought = tokenizer.encode("[THINK] It is dark. ", add_special_tokens=False)
    assert takes(lark, ids) and takes(lark, thought) and takes(lark, thought + ids)
    assert takes(lark, text), "spelt as text it is a text"
    assert not takes(lark, [*ids, *thought]) and not takes(lark, [ids[0], *thought])
    decoded = tokenizer.decode(ids, skip_special_tokens=False)
    assert [call.arguments for call in read_calls(form, decoded, SCHEMAS)] == [{"on": True}]


_GPT_OSS = "<|channel|>commentary to=functions.{} <|constrain|>json<|message|>"
_DSML = '<｜DSML｜function_calls>\n<｜DSML｜invoke name="{}">\n'
_DSML_WHERE = '<｜DSML｜parameter name="where" string="true">{}</｜DSML｜parameter>\n'
_DSML_ON = '<｜DSML｜parameter name="on" string="false">{}</｜DSML｜parameter>\n'
_DSML_END = "</｜DSML｜invoke>\n</｜DSML｜function_calls>"
WRITTEN = {  # a text, a call, one that does not match its schema
    "gpt-oss": (
        "<|channel|>analysis<|message|>It is dark.<|end|><|start|>assistant",
        _GPT_OSS.format("light") + '{"on": true}<|call|>',
        _GPT_OSS.format("light") + '{"on": 1}<|call|>',
    ),
    "gemma-4": (
        "It is dark.",
        '<|tool_call>call:find{most:3,where:<|"|>a, {b}<|"|>}<tool_call|>',
        '<|tool_call>call:find{most:3,where:<|"|>far too long<|"|>}<tool_call|>',
    ),
    "deepseek-v3.2": (
        "It is < dark.\n\n",
        _DSML.format("find") + _DSML_WHERE.format('<b> "c"') + _DSML_END,
        _DSML.format("light") + _DSML_ON.format("maybe") + _DSML_END,
    ),
    "lfm2": (
        "It is [dark].",
        "<|tool_call_start|>[light(on=true)]<|tool_call_end|>",
        "<|tool_call_start|>[light(on=2)]<|tool_call_end|>",
    ),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_special_tokens_within_a_notation(tokenizer, takes, name):
    (form,) = [form for form in FORMATS if form.name == name]
    text, good, bad = (tokenizer.encode(x, add_special_tokens=False) for x in WRITTEN[name])
    assert max(good) >= 4096
    for free in (False, True):
        lark = tool_grammar(form, SCHEMAS, tokenizer, free=free, several=False)
        assert takes(lark, good) and not takes(lark, bad) and not takes(lark, good + text)
        assert takes(lark, text + good) == free and not takes(lark, text + bad)
    (call,) = read_calls(form, tokenizer.decode(text + good, skip_special_tokens=False), SCHEMAS)
    check([call])
    if name == "gpt-oss":
        final = tokenizer.encode("<|channel|>final<|message|>Here.", add_special_tokens=False)
        assert takes(lark, final) and takes(lark, text + final)
        assert not takes(lark, tokenizer.encode("Here.", add_special_tokens=False))


def test_gemma_values_of_every_kind(tokenizer, takes):
    """Nested objects and lists, constants, references, alternatives."""
    (form,) = [form for form in FORMATS if form.name == "gemma-4"]
    schema = {
        "type": "object",
        "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}}},
        "properties": {
            "all": {"type": "array", "items": {"$ref": "#/$defs/place"}, "maxItems": 2},
            "any": {},
            "kind": {"enum": ["a b", 3, None]},
            "or": {"anyOf": [{"type": "boolean"}, {"type": "string", "minLength": 2}]},
        },
        "required": ["kind"],
    }
    functions = {"f": schema}
    lark = tool_grammar(form, functions, tokenizer, free=False, several=True)

    def call(arguments):
        text = "<|tool_call>call:f{" + arguments + "}<tool_call|>"
        ids = tokenizer.encode(text, add_special_tokens=False)
        found = read_calls(form, text, functions)
        return takes(lark, ids), found[0].arguments if found else None

    s = '<|"|>'
    assert call(f"kind:{s}a b{s}") == (True, {"kind": "a b"})
    assert call("kind:3") == (True, {"kind": 3})
    assert call("kind:null,or:false") == (True, {"kind": None, "or": False})
    assert call(f"all:[{{x:1.5}},{{}}],kind:3,or:{s}no{s}") == (
        True,
        {"all": [{"x": 1.5}, {}], "kind": 3, "or": "no"},
    )
    nested = f"any:{{a:[1,{s}b:c{s},{{}}],d_e:-2e3}},kind:3"
    assert call(nested) == (True, {"any": {"a": [1, "b:c", {}], "d_e": -2000.0}, "kind": 3})
    for wrong in ("", "kind:4", "kind:a b", f"kind:3,or:{s}n{s}", "all:[{},{},{}],kind:3"):
        assert not call(wrong)[0], wrong
    with pytest.raises(genfast.GrammarError, match=r"'f', as gemma-4 writes them: 'pattern'"):
        bad = {"type": "object", "properties": {"a": {"type": "string", "pattern": "b"}}}
        tool_grammar(form, {"f": bad}, tokenizer, free=False, several=True)


def test_a_chat_may_search(chat):
    """tools within beams."""
    for choice in ("required", {"name": "find"}):
        out = chat(tool_choice=choice, temperature=0, num_beams=3, n=3, max_tokens=60)
        assert any(c.finish_reason == "stop" for c in out.choices)
        for found in out.choices:
            assert bool(found.tool_calls) == (found.finish_reason == "stop")
            check(found.tool_calls)
