"""How the next token is chosen: every keyword of `generate`, validated here and nowhere else."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from genfast import grammar
from genfast import sampling_checks as checks
from genfast.confidence import Calibration
from genfast.errors import LoadError
from genfast.sampling_checks import INT32_MAX, integer, real
from genfast.sampling_conflicts import FILTERS, check_together

DEFAULT_MAX_TOKENS = 128
MAX_LOGPROBS = 100
MAX_N = 128
MAX_BEAMS = 64  # a step's sequences


@dataclass(frozen=True)
class Sampling:
    """Settings of one request; made by `Sampling.make`, which checks them.

    Order of use, as in Hugging Face where it has the step: guidance_scale, logit_bias,
    repetition_penalty, presence_penalty and frequency_penalty, dry_*, no_repeat_ngram_size,
    bad_words_ids, min_tokens, forced_*, suppress_tokens, begin_suppress_tokens on the logits; then
    temperature, top_n_sigma, top_k, top_p, min_p, typical_p, xtc_*, mirostat_* on what may be
    drawn.

    max_tokens: most tokens to generate, ≥ 1.
    temperature: 0 is greedy (then seed and what follows temperature change nothing).
    top_n_sigma: keep logits within n standard deviations of the largest; 0 keeps all.
    top_k: keep the k most likely tokens; 0 keeps all.
    top_p: keep the most likely tokens until their probability reaches p, in (0, 1].
    min_p: drop tokens less likely than min_p times the likeliest, in [0, 1].
    typical_p: keep the tokens whose surprise is nearest to the entropy until their probability
        reaches p, in (0, 1].
    xtc_probability, xtc_threshold: with that probability, of the tokens at least as likely as the
        threshold keep the least likely alone.
    mirostat_tau, mirostat_eta: Mirostat v2 instead of the filters above: keep the surprise of the
        text near tau bits, learning at the rate eta; tau 0 is off.
    seed: 0 … 2^64-1, or None for a fresh one each call.
    stop: strings that end the text and are left out of it.
    stop_token_ids: ids that end the generation, beside the model's own end tokens.
    ignore_eos: go on past the model's end tokens.
    min_tokens: no end token and no stop string before this many tokens.
    repetition_penalty: divides positive (multiplies negative) logits of tokens seen in prompt or
        output; 1 is off.
    presence_penalty, frequency_penalty: subtracted once, or per occurrence, from the logits of
        tokens generated so far; in [-2, 2].
    dry_multiplier, dry_base, dry_allowed_length, dry_sequence_breakers: DRY: what would continue a
        repetition of length ≥ allowed_length loses multiplier * base^(length - allowed_length);
        repetitions end at tokens that hold a breaker, a string or a token id. Multiplier 0 is off.
    no_repeat_ngram_size: no n tokens in a row come twice; 0 is off.
    bad_words_ids: sequences of token ids that are never completed; end tokens are not concerned.
    logit_bias: added to the logits of these ids.
    suppress_tokens, begin_suppress_tokens: ids that never come, or not as the first token.
    forced_tokens: pairs (place in the output, token id); place 0 is the first.
    forced_bos_token_id: the first token after a prompt of one token.
    forced_eos_token_id: the last of max_tokens tokens; of several ids one of these.
    n: independent continuations of the prompt; of a beam search, the n best (also called
        num_return_sequences).
    num_beams: above 1, a beam search of so many beams, which ends as a whole: streams give nothing
        before. A directory's sampling settings do not count then.
    length_penalty: a hypothesis' score is its log-probability over its length to this power.
    early_stopping: False: until no running beam looks better than the worst of num_beams ended
        ones; True: until so many ended; "never": until no beam can get better.
    num_beam_groups, diversity_penalty: so many searches of num_beams / num_beam_groups beams, each
        of which avoids the tokens that the ones before took in the same step.
    required: phrases that the text must contain, each a string or a list of token ids. A string is
        encoded alone: where a word in the middle of a text begins with a space, give it the space.
    guidance_scale, negative_prompt: classifier-free guidance: the logits move away from those that
        the negative prompt (a string or token ids; None: the last token of the prompt), continued
        alike, would have; negative + scale * (logits - negative). 1 is off; more costs twice.
    logprobs: None for none, k ≥ 0 for the chosen token's and those of the k likeliest.
    priority: requests of a higher priority are computed first; 0 is usual.
    speculate: guess tokens from what the text repeats and verify several in a step, which gives
        the same tokens sooner; "auto" does so while it pays, True always.
    deadline_ms: milliseconds from now after which the request ends with what there is
        (finish_reason "deadline"); DeadlineError at once when not even the first token is
        expected by then.
    calibration: what `Generation.confidence` comes from, else `model.calibration`; see
        `genfast.calibrate`.
    abstain_below: `Generation.abstained` says whether the confidence is below this.
    json_schema, regex, grammar, choices: at most one; the text matches it as a whole. A JSON schema
        (a dict or JSON text; True: any JSON value), a regular expression (Rust's syntax, without
        look-around), a Lark grammar as llguidance has it, or a list of texts to choose from. The
        generation ends with "stop" when nothing may follow, with "grammar" when the text does not
        match and yet nothing may follow. GrammarError for what cannot be compiled.
    """

    max_tokens: int = DEFAULT_MAX_TOKENS
    temperature: float = 0.0
    top_n_sigma: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    mirostat_tau: float = 0.0
    mirostat_eta: float = 0.1
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_sequence_breakers: tuple[str | int, ...] = ("\n", ":", '"', "*")
    no_repeat_ngram_size: int = 0
    bad_words_ids: tuple[tuple[int, ...], ...] = ()
    logit_bias: dict[int, float] = field(default_factory=dict)
    suppress_tokens: tuple[int, ...] = ()
    begin_suppress_tokens: tuple[int, ...] = ()
    forced_tokens: tuple[tuple[int, int], ...] = ()
    forced_bos_token_id: int | None = None
    forced_eos_token_id: tuple[int, ...] = ()
    n: int = 1
    num_beams: int = 1
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0
    required: tuple[str | tuple[int, ...], ...] = ()
    guidance_scale: float = 1.0
    negative_prompt: str | tuple[int, ...] | None = None
    logprobs: int | None = None
    priority: int = 0
    speculate: bool | str = "auto"
    deadline_ms: float | None = None
    calibration: Calibration | None = None
    abstain_below: float | None = None
    json_schema: str | None = None  # as JSON text
    regex: str | None = None
    grammar: str | None = None
    choices: tuple[str, ...] | None = None

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0.0

    @staticmethod
    def make(
        defaults: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        *,
        vocab_size: int | None = None,
        source: str = "generation_config.json",
    ) -> Sampling:
        """Settings from a parsed generation_config.json and the caller's keywords.

        A keyword that is None counts as not given. Wrong keywords raise ValueError; wrong
        values in the file raise LoadError naming `source` and the field. `vocab_size` bounds
        every token id.
        """
        values = _from_generation_config(defaults or {}, source)
        given = {}
        for name, value in _with_own_names(overrides or {}).items():
            if name not in _CHECKS:
                _refuse(name)
            elif value is not None:
                given[name] = _CHECKS[name](name, value)
        if given.get("mirostat_tau"):  # the file's filters are not meant to meet it
            values = {name: value for name, value in values.items() if name not in FILTERS}
        if given.get("num_beams", 1) > 1:  # a search draws nothing
            values = {**values, "temperature": 0.0}
        made = Sampling(**{**values, **given})
        check_together(made, vocab_size)
        return made


# --- one check a keyword ---------------------------------------------------------------------

_PENALTY = real(lambda x: -2.0 <= x <= 2.0, "a number from -2 to 2")
_SHARE = "a number above 0, up to 1 (1 keeps every token)"

_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "max_tokens": integer(1, INT32_MAX),
    "temperature": checks.temperature,
    "top_n_sigma": real(lambda x: 0.0 <= x <= 1000.0, "a number from 0 (off) to 1000"),
    "top_k": checks.top_k,
    "top_p": real(lambda x: 0.0 < x <= 1.0, _SHARE),
    "min_p": real(lambda x: 0.0 <= x <= 1.0, "a number from 0 (off) to 1"),
    "typical_p": real(lambda x: 0.0 < x <= 1.0, _SHARE),
    "xtc_probability": real(lambda x: 0.0 <= x <= 1.0, "a number from 0 (off) to 1"),
    "xtc_threshold": real(lambda x: 0.0 < x <= 0.5, "a number above 0, up to 0.5"),
    "mirostat_tau": real(lambda x: 0.0 <= x <= 100.0, "a number of bits from 0 (off) to 100"),
    "mirostat_eta": real(lambda x: 0.0 < x <= 10.0, "a number above 0, up to 10"),
    "seed": integer(0, 2**64 - 1, "None or an int from 0 to 2**64 - 1"),
    "stop": checks.stop,
    "stop_token_ids": checks.token_ids,
    "ignore_eos": checks.flag,
    "min_tokens": integer(0, INT32_MAX),
    "repetition_penalty": real(lambda x: 0.0 < x <= 100.0, "a number above 0, up to 100"),
    "presence_penalty": _PENALTY,
    "frequency_penalty": _PENALTY,
    "dry_multiplier": real(lambda x: 0.0 <= x <= 100.0, "a number from 0 (off) to 100"),
    "dry_base": real(lambda x: 1.0 <= x <= 100.0, "a number from 1 to 100"),
    "dry_allowed_length": integer(1, INT32_MAX),
    "dry_sequence_breakers": checks.sequence_breakers,
    "no_repeat_ngram_size": integer(0, INT32_MAX),
    "bad_words_ids": checks.bad_words_ids,
    "logit_bias": checks.logit_bias,
    "suppress_tokens": checks.token_ids,
    "begin_suppress_tokens": checks.token_ids,
    "forced_tokens": checks.forced_tokens,
    "forced_bos_token_id": checks.token_id,
    "forced_eos_token_id": checks.one_or_more_ids,
    "n": integer(1, MAX_N),
    "num_beams": integer(1, MAX_BEAMS),
    "length_penalty": real(lambda x: -100.0 <= x <= 100.0, "a number from -100 to 100"),
    "early_stopping": checks.early_stopping,
    "num_beam_groups": integer(1, MAX_BEAMS),
    "diversity_penalty": real(lambda x: x >= 0.0, "a number ≥ 0"),
    "required": checks.required,
    "guidance_scale": real(lambda x: 0.0 <= x <= 1000.0, "a number from 0 to 1000 (1 is off)"),
    "negative_prompt": checks.negative_prompt,
    "logprobs": integer(0, MAX_LOGPROBS, f"None or an int from 0 to {MAX_LOGPROBS}"),
    "priority": integer(-INT32_MAX, INT32_MAX, f"an int from {-INT32_MAX} to {INT32_MAX}"),
    "speculate": checks.speculate,
    "deadline_ms": real(lambda x: x > 0.0, "None or a number above 0"),
    "calibration": checks.instance_of(Calibration, "what genfast.calibrate gives"),
    "abstain_below": real(lambda x: 0.0 <= x <= 1.0, "None or a number from 0 to 1"),
    "json_schema": grammar.check_json_schema,
    "regex": grammar.check_text,
    "grammar": grammar.check_text,
    "choices": grammar.check_choices,
}

assert set(_CHECKS) == {f.name for f in fields(Sampling)}

# What other libraries call the same thing.
_ALIASES = {
    "max_new_tokens": "max_tokens",
    "max_length": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "n_predict": "max_tokens",
    "temp": "temperature",
    "repeat_penalty": "repetition_penalty",
    "stop_strings": "stop",
    "stop_sequences": "stop",
    "eos_token_id": "stop_token_ids",
    "min_new_tokens": "min_tokens",
    "best_of": "n",
    "top_logprobs": "logprobs",
    "random_seed": "seed",
    "guided_json": "json_schema",
    "guided_regex": "regex",
    "guided_grammar": "grammar",
    "guided_choice": "choices",
    "do_sample": "temperature",
    "typ_p": "typical_p",
    "sequence_bias": "logit_bias",
    "bad_words": "bad_words_ids",
    "forced_decoder_ids": "forced_tokens",
    "mirostat": "mirostat_tau",
    "mirostat_mode": "mirostat_tau",
    "no_repeat_ngram": "no_repeat_ngram_size",
}


# Other names that we take as our own.
_SYNONYMS = {"num_return_sequences": "n", "negative_prompt_ids": "negative_prompt"}


def _with_own_names(overrides: Mapping[str, Any]) -> dict[str, Any]:
    given = dict(overrides)
    for other, own in _SYNONYMS.items():
        value = given.pop(other, None)
        if value is None:
            continue
        if given.get(own) not in (None, value):
            raise ValueError(f"{other}={value!r:.60} and {own}={given[own]!r:.60} are the same")
        given[own] = value
    return given


def _refuse(name: str) -> None:
    """Raises for a keyword that there is not."""
    known = [*_CHECKS, "draft"]  # draft is a model, and no setting
    near = [_ALIASES[name]] if name in _ALIASES else difflib.get_close_matches(str(name), known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"
    raise ValueError(f"unknown keyword {name!r}{hint}")


# --- defaults of the model directory ---------------------------------------------------------

_FILE_FIELDS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "repetition_penalty",
    "no_repeat_ngram_size",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
    "forced_bos_token_id",
    "forced_eos_token_id",
)


def _from_generation_config(config: Mapping[str, Any], source: str) -> dict[str, Any]:
    """The file's sampling fields under our names; greedy unless it says do_sample.

    A file that samples without naming a temperature means 1. Its length limits are not taken:
    they are about the model, and max_tokens has a documented default.
    """
    if not isinstance(config, Mapping):
        raise LoadError(f"{source}: found {type(config).__name__}, expected a JSON object")
    sample = config.get("do_sample")
    if sample is not None and not isinstance(sample, bool):
        raise LoadError(f"{source}: do_sample is {sample!r:.60}, expected true or false")
    values: dict[str, Any] = {}
    for name in _FILE_FIELDS:
        value = config.get(name)
        if value is None:
            continue
        try:
            values[name] = _CHECKS[name](name, value)
        except ValueError as error:
            allowed = str(error).rpartition("allowed: ")[2]
            raise LoadError(f"{source}: {name} is {value!r:.60}, expected {allowed}") from None
    values["temperature"] = values.get("temperature", 1.0) if sample else 0.0
    return values
