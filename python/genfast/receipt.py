"""Receipts: enough of a generation to make it again elsewhere and to say where it differs.

genfast gives the same bits whatever else runs, so a replay that differs has a reason: other
weights, another tokenizer, another instruction set, another version. `replay` names the first step
that differs and everything that could be why.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genfast.errors import LoadError
from genfast.sampling import Sampling

if TYPE_CHECKING:
    from genfast.generation import Run
    from genfast.model import Model

_FORMAT = 2
_UNFINISHED = ("cancelled", "deadline")
# What changes no token, or is given otherwise.
_NOT_REPLAYED = (
    "priority",
    "deadline_ms",
    "speculate",
    "n",
    "seed",
    "max_tokens",
    "calibration",
    "abstain_below",
)


@dataclass(frozen=True)
class Receipt:
    """What replays one choice of a generation; `Generation.receipt` makes it.

    settings: what `genfast.load` was given (quantize, dtype …). config, tokenizer, chat_template:
    SHA-256 of these parts of its directory; tensors: of every tensor, by name. parameters: the
    sampling. stream: which of the n choices. digests: one a token, 64 bits as hexadecimal, of all
    logits that it was drawn from.
    """

    genfast: str
    isa: str
    settings: dict[str, Any]
    config: str
    tokenizer: str
    chat_template: str
    tensors: dict[str, str]
    prompt: list[int]
    parameters: dict[str, Any]
    max_tokens: int
    seed: int
    stream: int
    token_ids: list[int]
    digests: list[str]
    finish_reason: str
    format: int = _FORMAT

    def save(self, path: str | os.PathLike) -> None:
        """Writes it as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> Receipt:
        """Reads what `save` wrote; LoadError for anything else, naming the file and the field."""
        try:
            data = json.loads(Path(path).read_text())
        except (OSError, ValueError) as error:
            raise LoadError(f"{path}: cannot be read as a receipt: {error}") from None
        if not isinstance(data, dict) or data.get("format") != _FORMAT:
            raise LoadError(f"{path}: is no receipt of format {_FORMAT}")
        kinds = {"int": int, "str": str}
        for field in fields(cls):
            kind = kinds.get(field.type, dict if field.type.startswith("dict") else list)
            if not isinstance(data.get(field.name), kind):
                raise LoadError(f"{path}: {field.name}: expected {field.type}")
        return cls(**{field.name: data[field.name] for field in fields(cls)})


def receipt_of(model: Model, run: Run) -> Receipt:
    """Of a run that has ended."""
    import genfast

    prints = model.fingerprint
    parameters = {
        name: value
        for name, value in vars(run.sampling).items()
        if name not in _NOT_REPLAYED and value != getattr(Sampling(), name)
    }
    parameters = json.loads(json.dumps(parameters))  # tuples and keys as a file gives them back
    return Receipt(
        genfast=genfast.__version__,
        isa=model.isa,
        settings=model.settings,
        config=prints.config,
        tokenizer=prints.tokenizer,
        chat_template=prints.chat_template,
        tensors=prints.tensors,
        prompt=list(run.prompt),
        parameters=parameters,
        max_tokens=run.sampling.max_tokens,
        seed=run.seed,
        stream=run.index,
        token_ids=list(run.token_ids),
        digests=[f"{digest:016x}" for digest in run.digests],
        finish_reason=run.finish_reason or "cancelled",
    )


@dataclass(frozen=True)
class Replay:
    """What came of replaying a receipt.

    steps: how many tokens were made again. first_difference: the first whose logits or token
    differ, or None. differences: what is not as the receipt says, as sentences; with no first
    difference they did not matter.
    """

    steps: int
    first_difference: int | None
    differences: list[str]


def replay(receipt: Receipt, path: str | os.PathLike | None = None, **load: Any) -> Replay:
    """Makes a receipt's tokens again with the model at `path`. load: more for `genfast.load`."""
    import genfast

    with genfast.load(path, **{**receipt.settings, **load}) as model:
        differences = _differences(receipt, model)
        unfinished = receipt.finish_reason in _UNFINISHED
        most = len(receipt.token_ids) if unfinished else receipt.max_tokens
        if most == 0:
            return Replay(0, None, differences)
        parameters = {**_neutral(), **receipt.parameters}
        if "logit_bias" in parameters:  # JSON's keys are strings
            parameters["logit_bias"] = {int(k): v for k, v in parameters["logit_bias"].items()}
        out = model.generate(
            receipt.prompt,
            max_tokens=most,
            seed=receipt.seed,
            n=receipt.stream + 1,
            **parameters,
        ).choices[receipt.stream]
        again = out.receipt
    pairs = [list(zip(r.token_ids, r.digests, strict=True)) for r in (receipt, again)]
    first = next((i for i, (a, b) in enumerate(zip(*pairs, strict=False)) if a != b), None)
    if first is None and len(pairs[0]) != len(pairs[1]):
        first = min(map(len, pairs))
    return Replay(len(out.token_ids), first, differences)


def _neutral() -> dict[str, Any]:
    """Sampling fields as they are when nobody asks for anything: not the directory's defaults."""
    return {
        name: value
        for name, value in vars(Sampling()).items()
        if name not in _NOT_REPLAYED and value is not None
    }


def _differences(receipt: Receipt, model: Model) -> list[str]:
    import genfast

    found = []
    for name, here in (("genfast", genfast.__version__), ("isa", model.isa)):
        there = getattr(receipt, name)
        if here != there:
            found.append(f"{name}: {here} here, {there} in the receipt")
    prints = model.fingerprint
    for name in ("config", "tokenizer", "chat_template"):
        if getattr(prints, name) != getattr(receipt, name):
            found.append(f"{name}: not the same (by SHA-256)")
    for name in sorted(receipt.tensors.keys() | prints.tensors.keys()):
        here, there = prints.tensors.get(name, "none"), receipt.tensors.get(name, "none")
        if here != there:
            found.append(f"tensor {name}: SHA-256 {here} here, {there} in the receipt")
    return found
