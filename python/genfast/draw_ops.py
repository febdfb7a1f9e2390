"""The kernels that choose tokens, alone, on numpy arrays; `genfast.ops` has them too."""

from __future__ import annotations

import numpy as np

from genfast import _core


def sample(
    logits,
    *,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    draw: float = 0.0,
    isa: str = "",
    threads: int = 0,
) -> int:
    """The token that ``draw`` (uniform in [0, 1)) picks from logits [V] float32.

    Temperature 0: the largest logit. Otherwise softmax(logits / temperature) kept to the ``top_k``
    largest (0: all), the smallest set that reaches ``top_p``, and what has at least ``min_p`` times
    the largest probability, in that order; then the first token, most probable first, at which the
    cumulated probability exceeds ``draw``. Ties go to the lower id. -1 when every logit is -inf or
    NaN. Holtzman et al., 2019 (arXiv 1904.09751); Nguyen et al., 2024 (arXiv 2407.01082).
    """
    return _core.ops.sample(
        logits,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        draw=draw,
        isa=isa,
        threads=threads,
    )


def truncate(
    logits,
    *,
    temperature: float = 1.0,
    top_n_sigma: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    typical_p: float = 1.0,
    xtc_threshold: float = 1.0,
    max_bits: float = float("inf"),
    isa: str = "",
    threads: int = 0,
) -> tuple[np.ndarray, int, float]:
    """What may be drawn of logits [V] float32; the rest is -inf.

    The filters in that order, each on what the one before left (csrc/kernels/truncate/truncate.h);
    the defaults keep all. xtc_threshold: of the tokens that likely only the last stays.
    max_bits: the most surprise that stays. → (logits, how many are left, ln of the sum of
    e^(logit / temperature) over these).
    """
    return _core.ops.truncate(
        logits,
        temperature=temperature,
        top_n_sigma=top_n_sigma,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        xtc_threshold=xtc_threshold,
        max_bits=max_bits,
        isa=isa,
        threads=threads,
    )


def logprobs(
    logits,
    token: int,
    top_n: int = 0,
    *,
    normalised: bool = False,
    isa: str = "",
    threads: int = 0,
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-softmax of logits [V] float32: of ``token``, and of the ``top_n`` most probable tokens.

    → (log-probability of token, ids [top_n] int32, their log-probabilities [top_n] float32),
    largest first, ties to the lower id; id -1 and -inf when fewer than top_n logits are above -inf.
    normalised: the logits are log-probabilities already, edited perhaps, and told as they are.
    """
    told = _core.ops.logprobs(logits, token, top_n, normalised=normalised, isa=isa, threads=threads)
    return told[0], told[3], told[4]


def log_softmax(logits, *, isa: str = "", threads: int = 0) -> np.ndarray:
    """Log-softmax of all logits [V] float32, rounded once more than `logprobs`."""
    return _core.ops.log_softmax(logits, isa=isa, threads=threads)


def certainty(logits, *, isa: str = "", threads: int = 0) -> tuple[float, float]:
    """How sure softmax(logits) is, logits [V] float32: by the kernel of `logprobs`.

    → (entropy in nats, the largest probability less the second).
    """
    return _core.ops.logprobs(logits, 0, isa=isa, threads=threads)[1:3]
