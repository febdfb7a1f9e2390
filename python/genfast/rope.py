"""The frequencies of rotary position embeddings, from the fields of a config.json.

Position p turns pair i of a head by the angle p · inv_freq[i]. The scalings stretch a model beyond
the context it was trained on, each by its own inv_freq; they agree with transformers'
modeling_rope_utils, float32 rounding by float32 rounding, because a last bit of a frequency becomes
many bits of an angle thousands of positions on.

Su et al., 2021 (arXiv 2104.09864); yarn: Peng et al., 2023 (arXiv 2309.00071); llama3: Grattafiori
et al., 2024 (arXiv 2407.21783).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .config import Fields

MAX_THETA = 1e12
MAX_FACTOR = 1e6
MAX_POSITION = 1 << 30


@dataclass(frozen=True, eq=False)
class RopeFrequencies:
    """What `genfast.ops.rope_table` takes.

    inv_freq [R/2] float32 (R numbers of a head are rotated); scale multiplies cosines and sines;
    dynamic is (base, factor, length): positions from `length` on take dynamic NTK frequencies.
    """

    inv_freq: np.ndarray
    scale: float = 1.0
    dynamic: tuple[float, float, int] | None = None

    @property
    def rotated(self) -> int:
        """R: how many numbers of a head are rotated."""
        return 2 * len(self.inv_freq)


def rope_from_config(
    cfg: Fields, head_dim: int, max_position: int, *, layer_type: str | None = None
) -> RopeFrequencies:
    """The frequencies that a config asks for, in any of the spellings published.

    `rope_scaling` beside `rope_theta` and `partial_rotary_factor`, or all of it in
    `rope_parameters`; the scaling's type as `rope_type` or `type`. Parameters that differ by kind
    of layer are nested in `rope_parameters[layer_type]`. LoadError names what is wrong.
    """
    scaling = _scaling(cfg, layer_type)
    theta = cfg.number("rope_theta", 1, MAX_THETA, default=10000.0)
    partial = cfg.number("partial_rotary_factor", 0, 1, default=1.0)
    original = cfg.int("original_max_position_embeddings", 1, MAX_POSITION, default=None)
    return _frequencies(head_dim, theta, scaling, max_position, partial, original)


def stretched_context(cfg: Fields, max_position: int) -> int:
    """How many positions the scaling serves: linear and dynamic scaling multiply max_position, the
    others are published with a max_position_embeddings that is stretched already."""
    scaling = _scaling(cfg, None)
    if scaling.str("rope_type", default="default", alias="type") in ("linear", "dynamic"):
        return min(int(max_position * _factor(scaling)), MAX_POSITION)
    return max_position


def squared_mscale(cfg: Fields) -> float:
    """What mscale_all_dim does to scores: DeepSeek multiplies them by its square, beside what the
    scaling does to cosines and sines. 1 without it."""
    scaling = _scaling(cfg, None)
    all_dim = scaling.number("mscale_all_dim", 0, MAX_FACTOR, default=0.0)
    return _yarn_scale(_factor(scaling), all_dim) ** 2 if all_dim else 1.0


def _scaling(cfg: Fields, layer_type: str | None) -> Fields:
    scaling = cfg.object("rope_scaling", default=None)
    if scaling is None or not scaling.values:
        scaling = cfg.object("rope_parameters", default=None)
    if scaling is not None and layer_type is not None and layer_type in scaling:
        scaling = scaling.object(layer_type)
    return scaling or Fields({}, cfg.file)


def rope_frequencies(
    head_dim: int, theta: float, scaling: Mapping[str, Any] | None, max_position: int
) -> RopeFrequencies:
    """The frequencies of heads of `head_dim` numbers with base `theta`.

    scaling: the config's `rope_scaling` or `rope_parameters` (its rope_theta goes before `theta`),
    or None. max_position: the config's max_position_embeddings.
    """
    fields = Fields(dict(scaling or {}), "config.json", "rope_scaling.")
    return _frequencies(head_dim, theta, fields, max_position, 1.0, None)


def _frequencies(
    head_dim: int,
    theta: float,
    scaling: Fields,
    max_position: int,
    partial: float,
    original: int | None,
) -> RopeFrequencies:
    for name, value in scaling.values.items():
        if isinstance(value, dict):
            scaling.fail(name, "a number, not parameters of one kind of layer")
    kind = scaling.str_choice("rope_type", ROPE_TYPES, default="default", alias="type")
    theta = scaling.number("rope_theta", 1, MAX_THETA, default=theta)
    partial = scaling.number("partial_rotary_factor", 0, 1, default=partial)
    if original is None:
        original = scaling.int(
            "original_max_position_embeddings", 1, MAX_POSITION, default=max_position
        )
    dim = int(head_dim * partial)
    if dim < 1 or dim + dim % 2 > head_dim:
        raise_dim(scaling, head_dim, partial)
    return ROPE_TYPES[kind](scaling, dim, theta, max_position, original)


def raise_dim(scaling: Fields, head_dim: int, partial: float) -> None:
    """LoadError for a number of rotated dimensions that a head cannot hold."""
    scaling.values.setdefault("partial_rotary_factor", partial)
    scaling.fail("partial_rotary_factor", f"a part of head_dim = {head_dim} that can be rotated")


def _wavelengths(dim: int, theta: float) -> np.ndarray:
    """theta^(2i/dim) float32 [ceil(dim/2)]: the positions a pair takes for one radian."""
    exponents = np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)
    return np.power(theta, exponents.astype(np.float64)).astype(np.float32)


def _inverse(wavelengths: np.ndarray) -> np.ndarray:
    return np.float32(1) / wavelengths


def _factor(scaling: Fields, default: Any = None) -> float:
    if default is None:
        return scaling.number("factor", 1, MAX_FACTOR)
    return scaling.number("factor", 1, MAX_FACTOR, default=default)


def _default(
    scaling: Fields, dim: int, theta: float, max_position: int, original: int
) -> RopeFrequencies:
    return RopeFrequencies(_inverse(_wavelengths(dim, theta)))


def _linear(
    scaling: Fields, dim: int, theta: float, max_position: int, original: int
) -> RopeFrequencies:
    """All positions divided by the factor."""
    return RopeFrequencies(_inverse(_wavelengths(dim, theta)) / np.float32(_factor(scaling)))


def _dynamic(
    scaling: Fields, dim: int, theta: float, max_position: int, original: int
) -> RopeFrequencies:
    """Dynamic NTK: beyond max_position the base grows with the position."""
    if dim % 2 or dim == 2:
        scaling.fail("rope_type", f"a type other than dynamic for {dim} rotated dimensions")
    inverse = _inverse(_wavelengths(dim, theta))
    return RopeFrequencies(inverse, dynamic=(theta, _factor(scaling), max_position))


def _yarn(
    scaling: Fields, dim: int, theta: float, max_position: int, original: int
) -> RopeFrequencies:
    """Slow pairs as in linear, fast ones unchanged, a ramp between; and a scale on attention."""
    factor = _factor(scaling, default=max(1.0, max_position / original))
    scale = scaling.number("attention_factor", 0, MAX_FACTOR, default=None)
    if scale is None:
        mscale = scaling.number("mscale", 0, MAX_FACTOR, default=0.0)
        all_dim = scaling.number("mscale_all_dim", 0, MAX_FACTOR, default=0.0)
        if mscale and all_dim:
            scale = _yarn_scale(factor, mscale) / _yarn_scale(factor, all_dim)
        else:
            scale = _yarn_scale(factor, 1.0)
    # The pairs that turn beta_fast and beta_slow times within the original context; 0 is "default".
    fast = scaling.number("beta_fast", 0, MAX_FACTOR, default=32.0) or 32.0
    slow = scaling.number("beta_slow", 0, MAX_FACTOR, default=1.0) or 1.0
    if theta == 1:
        scaling.fail("rope_theta", "a base above 1 with rope_type yarn")
    low, high = (
        dim * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))
        for turns in (fast, slow)
    )
    if scaling.bool("truncate", default=True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, dim - 1)
    if low == high:
        high += 0.001

    wavelengths = _wavelengths(dim, theta)
    pairs = np.arange(len(wavelengths), dtype=np.float32)
    ramp = np.clip((pairs - np.float32(low)) / np.float32(high - low), 0, 1).astype(np.float32)
    kept = np.float32(1) - ramp
    interpolated = _inverse(np.float32(factor) * wavelengths)
    inverse = interpolated * (np.float32(1) - kept) + _inverse(wavelengths) * kept
    return RopeFrequencies(inverse, scale)


def _yarn_scale(factor: float, mscale: float) -> float:
    return 1.0 if factor <= 1 else 0.1 * mscale * math.log(factor) + 1.0


def _llama3(
    scaling: Fields, dim: int, theta: float, max_position: int, original: int
) -> RopeFrequencies:
    """Long wavelengths divided by the factor, short ones kept, those between mixed."""
    factor = _factor(scaling)
    low = scaling.number("low_freq_factor", 1e-6, MAX_FACTOR)
    high = scaling.number("high_freq_factor", 1e-6, MAX_FACTOR)
    if high <= low:
        scaling.fail("high_freq_factor", f"a number above low_freq_factor = {low:g}")
    inverse = _inverse(_wavelengths(dim, theta))
    turn = np.float32(2 * math.pi) / inverse  # positions for a whole turn
    mix = (np.float32(original) / turn - np.float32(low)) / np.float32(high - low)
    stretched = inverse / np.float32(factor)
    mixed = (np.float32(1) - mix) * stretched + mix * inverse
    result = np.where(turn > original / low, stretched, inverse)
    between = (turn >= original / high) & (turn <= original / low)
    return RopeFrequencies(np.where(between, mixed, result).astype(np.float32))


def _longrope(
    scaling: Fields, dim: int, theta: float, max_position: int, original: int
) -> RopeFrequencies:
    """A factor of its own for each pair (Ding et al., 2024, arXiv 2402.13753). A model that serves
    more than the original length takes the long ones for every position, whatever a request's
    length: keys in the cache cannot change theirs. transformers takes the short ones while a text
    is no longer than that."""
    factor = scaling.number("factor", 1e-6, MAX_FACTOR, default=max_position / original)
    usual = math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1.0
    scale = scaling.number("attention_factor", 1e-6, 1e6, default=usual)
    name = "long_factor" if max_position > original else "short_factor"
    factors = scaling.numbers(name, 1e-6, MAX_FACTOR, (dim + 1) // 2)
    return RopeFrequencies(
        _inverse(np.array(factors, np.float32) * _wavelengths(dim, theta)), scale
    )


ROPE_TYPES: dict[str, Callable[[Fields, int, float, int, int], RopeFrequencies]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "yarn": _yarn,
    "llama3": _llama3,
    "longrope": _longrope,
}
