"""What a model answers in a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from genfast.async_stream import AsyncStream
from genfast.chat import render
from genfast.chat_tools import chat_tools
from genfast.generation import Run, finish_all, gather, stream_all
from genfast.results import Chunk, Generation
from genfast.tokenizer import Tokenizer


class Chats:
    """The part of a `Model` that knows of chats."""

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = "auto",
        parallel_tool_calls: bool = True,
        stream: bool = False,
        **options: Any,
    ) -> Generation | Iterator[Chunk]:
        """The model's answer to a conversation, by the directory's chat template.

        messages: [{"role": "user", "content": "..."}, ...]. tools: functions that the model may
        call, as OpenAI's API describes them; the calls are in the result's `tool_calls`, and
        their arguments match the schemas. tool_choice: "auto" (a text, calls, or both), "required"
        (calls), {"name": …} (one call of this tool) or "none" (the model is not told of tools).
        parallel_tool_calls: False: one call at most.
        stream: give an iterator of chunks instead.
        """
        runs = self._chat_runs(messages, tools, tool_choice, parallel_tool_calls, options)
        if stream:
            return stream_all(runs)
        finish_all(runs)
        return gather(runs)

    def achat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: Any = "auto",
        parallel_tool_calls: bool = True,
        **options: Any,
    ) -> AsyncStream:
        """`chat` for asyncio, in chunks; as with `astream`, nothing blocks the loop."""
        return AsyncStream(
            lambda: self._chat_runs(messages, tools, tool_choice, parallel_tool_calls, options)
        )

    def _chat_runs(
        self, messages: Any, tools: Any, choice: Any, several: bool, options: dict[str, Any]
    ) -> list[Run]:
        calling = chat_tools(tools, choice, options, self._chat_tokenizer(), several)
        ids = self.chat_ids(messages, tools=None if choice == "none" else tools)
        if calling is not None:
            options = {**options, "grammar": calling.grammar}
        return self._runs(self._prompts.one(ids), options, calling)

    def chat_ids(self, messages, *, tools=None) -> list[int]:
        """The token ids of a conversation, up to where the answer begins."""
        tokenizer = self._chat_tokenizer()
        text = render(tokenizer.chat_template, messages, tools=tools, **tokenizer.special_tokens)
        return tokenizer.encode(text, add_special_tokens=False)

    def _chat_tokenizer(self) -> Tokenizer:
        tokenizer = self._prompts.need_tokenizer("chat")
        if tokenizer.chat_template is None:
            raise ValueError(
                f"{self.path} has no chat template (tokenizer_config.json, chat_template.jinja); "
                "use generate with a prompt of your own"
            )
        return tokenizer
