"""Chat templates: the same text as transformers, clear errors, and no way to run away."""

from __future__ import annotations

import datetime
import importlib.util
import json
import sys
import threading
from pathlib import Path

import pytest

from genfast import chat_budget, chat_sandbox
from genfast.chat import check_template, render
from genfast.errors import LoadError

ROOT = Path(__file__).resolve().parents[2]
GOLDENS = json.loads((Path(__file__).parent / "chat_goldens.json").read_text(encoding="utf-8"))
USER = [{"role": "user", "content": "Hi"}]


def _tool():
    spec = importlib.util.spec_from_file_location("goldens", ROOT / "tools/make_chat_goldens.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _tool()


@pytest.mark.parametrize("name", GOLDENS["templates"])
def test_real_templates_as_transformers_renders_them(name, data, monkeypatch):
    monkeypatch.setattr(chat_sandbox, "now", lambda: datetime.datetime(*TOOL.FIXED_NOW))
    template = (data / "templates" / name).read_text(encoding="utf-8")
    expected = GOLDENS["templates"][name]
    found = {}
    for case, messages, tools, prompt in TOOL.cases():
        try:
            text = render(template, messages, tools, prompt, **TOOL.TOKENS)
            found[case] = TOOL.digest(text)
        except ValueError:
            found[case] = None
    assert found == expected


def test_goldens_cover_real_templates():
    rows = [row for rows in GOLDENS["templates"].values() for row in rows.values()]
    assert len(GOLDENS["templates"]) > 90
    assert sum(row is not None for row in rows) > 600


CHATML = (
    "{% for m in messages %}\n"
    "    {{ '<|im_start|>' ~ m.role ~ '\\n' ~ m['content'] | trim ~ '<|im_end|>' }}\n"
    "    {%- generation %}{{ '' }}{% endgeneration %}\n"
    "{% endfor %}\n"
    "{%- if add_generation_prompt %}<|im_start|>assistant{% endif %}\n"
    "{{- bos_token }}{{ undefined_thing }}"
)


def test_whitespace_and_generation_blocks():
    messages = [{"role": "system", "content": " S "}, {"role": "user", "content": "<U>"}]
    text = render(CHATML, messages, bos_token="<s>")
    expected = "    <|im_start|>system\nS<|im_end|>    <|im_start|>user\n<U><|im_end|>"
    assert text == expected + "<|im_start|>assistant<s>"


def test_loop_variables_survive_the_guard():
    template = (
        "{% for m in messages %}{{ loop.index }}/{{ loop.length }}{{ loop.last }}"
        "{{ loop.previtem.role if loop.previtem else '-' }}{% if loop.index == 2 %}{% break %}"
        "{% endif %}{% else %}none{% endfor %}"
    )
    messages = USER * 3
    assert render(template, messages) == "1/3False-2/3Falseuser"
    assert render("{% for m in nothing %}x{% else %}none{% endfor %}", USER) == "none"
    assert render("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", USER) == "a1"
    recursive = "{% for n in [[1,[2]]] recursive %}{{ n if n is number else loop(n) }}{% endfor %}"
    assert render(recursive, USER) == "12"


def test_tojson_does_not_escape():
    text = render("{{ tools | tojson }}|{{ {'b': 1, 'a': '<é>'} | tojson(indent=2) }}", USER, [{}])
    assert text == '[{}]|{\n  "b": 1,\n  "a": "<é>"\n}'


def test_named_templates():
    named = {"default": "plain", "tool_use": "tools", "rag": "docs"}
    assert render(named, USER) == "plain"
    assert render(named, USER, tools=[]) == "tools"
    assert render(named, USER, template_name="rag") == "docs"
    assert render({"default": "plain"}, USER, tools=[{}]) == "plain"
    with pytest.raises(ValueError, match="'x'; the model has: default, rag, tool_use"):
        render(named, USER, template_name="x")
    with pytest.raises(ValueError, match="the model has: rag"):
        render({"rag": "docs"}, USER)


def test_absent_and_none_are_alike():
    template = "{{ 'tool_calls' in messages[0] }}{{ messages[0].content is defined }}"
    message = {"role": "assistant", "content": None, "tool_calls": [{"function": {}}]}
    assert render(template, [message]) == "TrueFalse"


def test_callers_objects_do_not_reach_the_template():
    class Image:
        def steal(self):
            raise AssertionError("reached")

    parts = [{"type": "image", "image": Image()}]
    template = "{{ messages[0].content[0].image }}{{ messages[0].content[0].image.steal }}"
    assert render(template, [{"role": "user", "content": parts}]) == "<Image>"


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ("hi", "messages is str"),
        ({"role": "user"}, "messages is dict"),
        (None, "messages is NoneType"),
        ([], "messages is empty"),
        ([*USER, "hi"], "messages[1] is str"),
        ([{"content": "x"}], "messages[0].role is None"),
        ([{"role": 3, "content": "x"}], "messages[0].role is 3"),
        ([*USER, {"role": "user"}], "messages[1].content is missing"),
        ([{"role": "user", "content": 3}], "messages[0].content is int"),
        ([{"role": "user", "content": ["x"]}], "messages[0].content[0] is str"),
        ([{"role": "user", "content": [{"type": 3}]}], "messages[0].content[0].type is 3"),
        (
            [{"role": "user", "content": [{"type": "text", "text": None}]}],
            "messages[0].content[0].text is None",
        ),
        ([{"role": "a", "content": "", "tool_calls": 3}], "messages[0].tool_calls is int"),
        ([{"role": "a", "content": "", "tool_calls": [3]}], "messages[0].tool_calls[0] is int"),
    ],
)
def test_bad_messages_name_index_and_field(messages, words):
    with pytest.raises(ValueError) as caught:
        render(CHATML, messages)
    assert words in str(caught.value) and "allowed: " in str(caught.value)


@pytest.mark.parametrize(("tools", "words"), [({}, "tools is dict"), ([print], "tools[0] is ")])
def test_bad_tools(tools, words):
    with pytest.raises(ValueError) as caught:
        render(CHATML, USER, tools)
    assert words in str(caught.value)


def test_nested_messages_are_bounded():
    deep = []
    for _ in range(200):
        deep = [deep]
    with pytest.raises(ValueError, match=r"messages\[0\] is nested more than 100 deep"):
        render(CHATML, [{"role": "user", "content": "x", "extra": deep}])


def test_a_template_that_refuses_speaks_for_itself():
    with pytest.raises(ValueError, match=r"^chat template: Roles must alternate!$"):
        render("{{ raise_exception('Roles must alternate!') }}", USER)
    with pytest.raises(ValueError, match=r"chat template: 'x' is undefined"):
        render("{{ x.y }}", USER)
    with pytest.raises(ValueError, match="chat template: TypeError"):
        render("{{ 1 + 'a' }}", USER)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{% for %}", "line 1"),
        ("a\nb{{ x", "line 2"),
        ("{% nonsense %}", "nonsense"),
        ("{{ x | no_such_filter }}", "no_such_filter"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "chat template"),
        ("{% if a %}" * 300 + "{% endif %}" * 300, "chat template"),
        ("x" * (chat_budget.MAX_SOURCE + 1), "characters"),
    ],
)
def test_broken_templates_are_load_errors(template, words):
    with pytest.raises(LoadError, match=words):
        check_template(template)
    with pytest.raises(LoadError, match=words):
        render(template, USER)


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ messages.append(1) }}",
        "{{ messages.__class__.__mro__ }}",
        "{{ ''|attr('__class__') }}",
        "{{ namespace(__class__=1) }}",
        "{% set ns = namespace() %}{% set ns.__init__ = 1 %}",
        "{{ raise_exception.__globals__ }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ lipsum() }}",
        "{% include 'x' %}",
        "{% import 'os' as os %}",
        "{{ self.__init__ }}",
    ],
)
def test_no_way_out(template):
    try:
        text = render(template, USER)
    except ValueError:
        return
    assert text == ""


G = "1000000000"
BOMBS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% endfor %}{% endfor %}",
    "range": "{% for a in range(" + G + ") %}{% endfor %}",
    "macro tree": "{% macro f(n) %}{% if n %}{{ f(n-1) }}{{ f(n-1) }}{% endif %}{% endmacro %}"
    "{{ f(60) }}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "string times": "{{ 'a' * " + G + " }}",
    "list times": "{{ ([0] * " + G + ") | length }}",
    "times, computed": "{% set n = 99999 %}{% set s = 'a' * n * n %}{{ s | length }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "squares": "{% set ns = namespace(x=9) %}{% for i in range(99) %}"
    "{% set ns.x = ns.x * ns.x %}{% endfor %}",
    "doubling +": "{% set ns = namespace(x='a') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "doubling ~": "{% set ns = namespace(x='a') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "doubling join": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x.join([ns.x, ns.x]) %}{% endfor %}",
    "doubling |join": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
    "{% set ns.x = [ns.x, ns.x] | join(ns.x) %}{% endfor %}",
    "squaring replace": "{% set ns = namespace(x='aaaa') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x.replace('a', ns.x) %}{% endfor %}",
    "squaring |replace": "{% set ns = namespace(x='aaaa') %}{% for i in range(99) %}"
    "{% set ns.x = ns.x | replace('a', ns.x) %}{% endfor %}",
    "doubling set block": "{% set ns = namespace(x='ab') %}{% for i in range(99) %}"
    "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor %}",
    "doubling lists": "{% set ns = namespace(x=['abc']) %}{% for i in range(99) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    "printed lists": "{% set ns = namespace(x=['abc']) %}{% for i in range(99) %}"
    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "ljust": "{{ 'a'.ljust(" + G + ") }}",
    "zfill by item": "{{ 'a'['zfill'](" + G + ") }}",
    "attr filter": "{{ ('a'|attr('center'))(" + G + ") }}",
    "center filter": "{{ 'a' | center(" + G + ") }}",
    "mapped filter": "{{ ['a'] | map('center', " + G + ") | list }}",
    "indent": "{{ 'a\\nb' | indent(" + G + ") }}",
    "tabs": "{{ '\\t'.expandtabs(" + G + ") }}",
    "percent": "{{ '%" + G + "d' % 1 }}",
    "percent star": "{{ '%*d' % (" + G + ", 1) }}",
    "percent filter": "{{ '%" + G + "d' | format(1) }}",
    "format": "{{ '{:" + G + "}'.format(1) }}",
    "format nested": "{{ '{:{}}'.format(1, " + G + ") }}",
    "batch": "{{ ['a'] | batch(" + G + ", 'x') | list | length }}",
    "slice": "{{ ['a'] | slice(" + G + ") | list | length }}",
    "round": "{{ 1.5 | round(" + G + ") }}",
    "sum": "{% set big = ['x'] * 9999 %}{{ ([big] * 99999) | sum(start=[]) | length }}",
    "literal text": "{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}",
    "literal text in a block": "{% set y %}{% for a in range(99999) %}"
    + "x" * 9999
    + "{% endfor %}{% endset %}",
    "translate": "{{ ('a' * 99999).translate({97: 'b' * 99999}) | length }}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_templates_cannot_run_away(name, monkeypatch):
    import resource

    if name != "nested loops":  # one with the real limit, the others quicker
        monkeypatch.setattr(chat_budget, "MAX_STEPS", 100_000)
    with pytest.raises((LoadError, ValueError), match="chat template"):
        render(BOMBS[name], USER)
    # The budget is 128 Mi characters; nothing came near what these ask for.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 * 1024 * 1024  # KiB


def test_a_long_chat_fits_the_budget():
    messages = [{"role": "user", "content": "word " * 200}] * 5000
    assert len(render(CHATML, messages)) > 5_000_000


def test_threads_have_budgets_of_their_own():
    texts = []
    work = [
        threading.Thread(target=lambda: texts.append(render(CHATML, USER * 300, bos_token="")))
        for _ in range(4)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(texts) == 4 and len(set(texts)) == 1


def test_importing_chat_does_not_import_jinja():
    import subprocess

    code = "import sys, genfast.chat; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
