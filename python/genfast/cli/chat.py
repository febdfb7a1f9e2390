"""`genfast chat`: talk to a model."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from genfast import plain_chat
from genfast.chat import render
from genfast.cli.common import (
    add_common,
    add_model,
    add_sampling,
    open_text_model,
    print_json,
    rates,
    sampling_options,
    say,
    shown,
    style,
    usage_json,
)

_HELP = """\
/help           this list
/reset          forget the conversation
/system TEXT    set the system message (and forget the conversation)
/quit           leave, as does Ctrl-D
Ctrl-C stops an answer; what has come of it stays in the conversation."""

_EPILOG = f"""\
In the conversation:
{_HELP}

With --json, or when stdin is not a terminal, each line of stdin is a message; --json answers each
with one line of JSON.

examples:
  genfast chat -m DIR
  genfast chat -m DIR --system "Answer in one sentence." --temperature 0.7
  echo "What is a fjord?" | genfast chat -m DIR
"""


def register(commands: Any) -> None:
    parser = commands.add_parser(
        "chat",
        help="talk to a model",
        description="A conversation with a model, by its own chat template.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument("-q", "--quiet", action="store_true", help="no figures after the answers")
    add_common(parser)
    add_model(parser)
    add_sampling(parser, max_tokens=512)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    options = sampling_options(args)
    with open_text_model(args) as model:
        return _Conversation(model, args, options).run()


class _Conversation:
    """The messages so far, and the loop that adds to them."""

    def __init__(self, model: Any, args: argparse.Namespace, options: dict[str, Any]) -> None:
        if model.tokenizer is None:
            raise ValueError("this model has no tokenizer, so it cannot chat; use genfast generate")
        self.model, self.options, self.json, self.quiet = model, options, args.json, args.quiet
        self.system: str | None = args.system
        self.messages: list[dict[str, str]] = []
        self.plain = model.tokenizer.chat_template is None
        self.person = sys.stdin.isatty() and not args.json
        self.reset()

    def reset(self) -> None:
        self.messages = [{"role": "system", "content": self.system}] if self.system else []

    def run(self) -> int:
        if self.plain:
            say(style(plain_chat.WARNING, "33"))
        if self.person:
            say(style("/help lists what else you can say; Ctrl-D leaves.", "2"))
            with contextlib.suppress(ImportError):
                import readline  # noqa: F401 (line editing and history for input())
        for line in self._lines():
            text = line.strip()
            if text.startswith("/") and self.person:
                if not self._command(text):
                    return 0
            elif text:
                self._answer(text)
        return 0

    def _lines(self) -> Iterator[str]:
        """What is typed, until the end of stdin."""
        while self.person:
            try:
                # The prompt goes through input() so that line editing knows how long it is.
                yield input("> ")
            except KeyboardInterrupt:
                say("\n(Ctrl-D or /quit leaves)")
            except EOFError:
                print()
                return
        yield from sys.stdin

    def _command(self, text: str) -> bool:
        """Carries out a /command; False to leave."""
        name, _, rest = text.partition(" ")
        if name in ("/quit", "/exit", "/bye"):
            return False
        if name == "/reset":
            self.reset()
            say("(forgotten)")
        elif name == "/system":
            self.system = rest.strip() or None
            self.reset()
            say("(system message set)" if self.system else "(no system message)")
        elif name == "/help":
            say(_HELP)
        else:
            say(f"no such command: {name}\n{_HELP}")
        return True

    def _answer(self, text: str) -> None:
        self.messages.append({"role": "user", "content": text})
        answer, last = "", None
        try:
            stream = self._stream()
            with contextlib.closing(stream):
                for chunk in stream:
                    answer += chunk.text
                    if not self.json:
                        sys.stdout.write(shown(chunk.text))
                        sys.stdout.flush()
                    last = chunk if chunk.finish_reason else last
        except KeyboardInterrupt:
            if not self.person:
                raise
            say(style(" (stopped)", "2"))
        except ValueError as error:
            # Too long a conversation, or one that the template refuses: the person may go on.
            self.messages.pop()
            if not self.person:
                raise
            say(style(f"{error} (/reset starts anew)", "31"))
            return
        self.messages.append({"role": "assistant", "content": answer.strip()})
        self._end_of_answer(answer, last)

    def _end_of_answer(self, answer: str, last: Any) -> None:
        usage, timings = getattr(last, "usage", None), getattr(last, "timings", None)
        reason = last.finish_reason if last is not None else "cancelled"
        if self.json:
            figures = usage_json(usage, timings) if usage is not None else {}
            print_json({"text": answer, "finish_reason": reason, **figures})
            return
        if not answer.endswith("\n"):
            print(flush=True)
        if usage is not None and not self.quiet:
            say(style(rates(usage, timings, reason), "2"))

    def _stream(self) -> Iterator[Any]:
        if not self.plain:
            return self.model.chat(self.messages, stream=True, **self.options)
        stops = [*self.options.get("stop", []), plain_chat.STOP]
        prompt = render(plain_chat.TEMPLATE, self.messages, bos_token="")  # encoding adds it
        return self.model.stream(prompt, **{**self.options, "stop": stops})
