"""What the chat templates of real models make of calls is what the table of notations says."""

from __future__ import annotations

import html
import itertools
import json
import re

import pytest

from genfast.chat import render
from genfast.tool_calls import ToolCall, read_calls
from genfast.tool_formats import FORMATS, format_of
from written_calls import CALLS, SCHEMAS, TOOLS, pairs, written

TEMPLATES = {  # by their families' names in the table: all that know of tools
    "deepseek-r1": [
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
        "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B",
        "llama-cpp-deepseek-r1",
    ],
    "deepseek-v3.1": ["deepseek-ai-DeepSeek-V3.1"],
    "deepseek-v3.2": ["deepseek-ai-DeepSeek-V3.2"],
    "deepseek-v4": ["deepseek-ai-DeepSeek-V4"],
    "gpt-oss": ["openai-gpt-oss-120b"],
    "gemma-4": ["google-gemma-4-31B-it", "google-gemma-4-31B-it-interleaved"],
    "granite": ["granite-3.0-instruct", "ibm-granite-granite-3.3-2B-Instruct"],
    "gigachat": ["GigaChat3.1-10B-A1.8B"],
    "lfm2": ["LFM2-8B-A1B", "LFM2.5-Instruct"],
    "kimi": ["Kimi-K2-Instruct", "Kimi-K2-Thinking", "moonshotai-Kimi-K2"],
    "mistral-v11": [
        "Mistral-Small-3.2-24B-Instruct-2506",
        *["v11", "v11_audio", "v11_image", "v11_image_think", "v11_think"],
    ],
    "mistral-v13": [
        "mistralai-Ministral-3-14B-Reasoning-2512",
        "unsloth-mistral-Devstral-Small-2507",
        *["v13", "v13_audio", "v13_image", "v13_image_think", "v13_think"],
        *["v15", "v15_audio", "v15_image", "v15_image_think", "v15_think"],
    ],
    "mistral": [
        "mistralai-Mistral-Nemo-Instruct-2407",
        *["v2", "v2_spm", "v3", "v3_image", "v3_image_spm", "v3_spm"],
        *["v7", "v7_audio", "v7_image", "v7_image_spm", "v7_spm"],
    ],
    "glm": ["GLM-4.6", "GLM-4.7-Flash", "GLM-5.2"],
    "seed": ["ByteDance-Seed-OSS"],
    "qwen3-coder": [
        "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        "Qwen-Qwen3-Coder-30B-A3B-Instruct",
        "Qwen3-Coder",
        "Qwen3.5-4B",
        "StepFun3.5-Flash",
        "stepfun-ai-Step-3.5-Flash",
    ],
    "functionary-v3.1": ["meetkai-functionary-medium-v3.1"],
    "functionary-v3.2": ["meetkai-functionary-medium-v3.2"],
    "apertus": ["Apertus-8B-Instruct"],
    "apriel": ["unsloth-Apriel-1.5", "Apriel-1.6-15b-Thinker-fixed"],
    "command-r7b": ["Cohere2MoE", "CohereForAI-c4ai-command-r7b-12-2024-tool_use"],
    "command-r-plus": ["CohereForAI-c4ai-command-r-plus-tool_use"],
    "hermes": [
        "Bielik-11B-v3.0-Instruct",
        "MiMo-VL",
        "MiroThinker",
        "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use",
        "NousResearch-Hermes-3-Llama-3.1-8B-tool_use",
        "Qwen-QwQ-32B",
        "Qwen-Qwen2.5-7B-Instruct",
        "Qwen-Qwen3-0.6B",
        "Reka-Edge",
        "qwen2.5-instruct",
    ],
    "llama-3": [
        "meta-llama-Llama-3.1-8B-Instruct",
        "meta-llama-Llama-3.2-3B-Instruct",
        "meta-llama-Llama-3.3-70B-Instruct",
    ],
}
NO_NOTATION = {
    "GigaChat3-10B-A1.8B": "its calls come behind the token that ends a reply",
    "fireworks-ai-llama-3-firefunction-v2": "its template takes functions, not tools",
    "v1": "its template shows a model no tools",
    "v1_spm": "its template shows a model no tools",
}
WRITES_NONE = {
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "wants a None that is there",
    "LFM2-8B-A1B": "shows tools, and writes no calls",
    "LFM2.5-Instruct": "shows tools, and writes no calls",
    "granite-3.0-instruct": "shows tools, and writes no calls",
    "ibm-granite-granite-3.3-2B-Instruct": "shows tools, and writes no calls",
    "Kimi-K2-Instruct": "changes a list, which a template may not",
    "Kimi-K2-Thinking": "changes a list, which a template may not",
    "MiroThinker": "uses a name that it does not define",
    "llama-cpp-deepseek-r1": "makes JSON of a generator",
}
ONE_A_MESSAGE = {"llama-3", "gpt-oss", "gigachat"}


def test_every_template_with_tools_is_here(data):
    paths = list((data / "templates").rglob("*.jinja"))
    with_tools = {path.stem for path in paths if re.search("tools|tool_calls", path.read_text())}
    listed = {name for names in TEMPLATES.values() for name in names}
    assert with_tools == listed | set(NO_NOTATION)
    assert {form.name for form in FORMATS} - set(TEMPLATES) == {"pythonic"}


def reply(template: str, calls) -> str:
    """What the template makes of an assistant's message with these calls."""
    user = [{"role": "user", "content": "Well?"}]
    options = {"tools": TOOLS, "bos_token": "", "eos_token": "", "add_generation_prompt": False}
    before = render(template, user, **options)
    # functionary wants arguments as text, a DeepSeek no content
    for text, content in itertools.product((False, True), ("", None)):
        entries = [
            ToolCall(name, json.dumps(arguments) if text else arguments, f"abcdefgh{i}").to_dict()
            for i, (name, arguments) in enumerate(calls)
        ]
        message = {"role": "assistant", "content": content, "tool_calls": entries}
        try:
            whole = render(template, [*user, message], **options)
        except ValueError:
            continue
        # an instruction may come last
        same = itertools.takewhile(
            lambda pair: pair[0] == pair[1], zip(before, whole, strict=False)
        )
        rest = whole[len(list(same)) :]
        if calls[0][0] in rest:
            return rest
    raise AssertionError("the template takes no calls")


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, names in TEMPLATES.items() for name in names]
)
def test_what_real_templates_write_is_read(data, family, name):
    (path,) = (data / "templates").rglob(f"{name}.jinja")
    template = path.read_text()
    form = format_of(template)
    assert form.name == family
    if name in WRITES_NONE:
        return
    calls = CALLS[:1] if family in ONE_A_MESSAGE else CALLS
    text = html.unescape(reply(template, calls))  # some Mistral templates escape their quotes
    text = text.replace("<|start_header_id|>assistant<|end_header_id|>", "").replace(
        ">>>get", "get", 1
    )
    assert pairs(read_calls(form, text, SCHEMAS)) == calls
    if form.reads:  # as models write it and templates do not
        return
    # and the table writes what the template writes, but for white space and optional ids
    bare = re.sub(r', "id": "\w+"', "", text)
    bare = re.sub(r"abcdefgh\d", "abcdefgh1", bare)
    assert re.sub(r"\s", "", written(form, calls)) in re.sub(r"\s", "", bare)
