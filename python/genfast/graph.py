"""The ops of a program: a model file's `forward` runs once on symbolic tensors and leaves one.

Every method of `Graph` appends one instruction to a native program, which checks the shapes at
once: a mistake is reported at the line of the model file that made it. Shapes are [rows, cols];
rows is ``"T"`` (tokens of the step), ``"outputs"`` (tokens whose logits are wanted) or a number.
"""

from __future__ import annotations

import numpy as np

from genfast.attention_layer import AttentionLayer
from genfast.recorder import Recorder, Tensor
from genfast.rope import RopeFrequencies


class Graph(Recorder):
    """Records a program. The ops mean what `genfast.ops` documents; here they are symbolic.

    window, sinks: with a window, no attention layer looks further back, but for the first `sinks`
    tokens, whatever the model file says.
    """

    def __init__(self, window: int = 0, sinks: int = 0) -> None:
        super().__init__()
        self._window, self._sinks = window, sinks
        self.token_ids = Tensor(self.program.token_ids, "token_ids", ("T", 1))
        self.positions = Tensor(self.program.positions, "positions", ("T", 1))
        self.attention_layers: list[AttentionLayer] = []

    def check_window(self, model_type: str) -> None:
        """ValueError where a window was asked for and there is nothing that looks back."""
        if self._window and not self.attention_layers:
            raise ValueError(
                f"window={self._window} is not allowed: {model_type} has no attention layers"
            )

    def embed(
        self, ids: Tensor, table, residual: Tensor | None = None, *, scale=1.0, name="embed"
    ) -> Tensor:
        """table[ids] · scale (+ residual); ids: `token_ids` or `positions`; table [V, E]."""
        inputs = [ids, self._matrix(table), residual]
        return self._append("embed", inputs, {"scale": float(scale)}, name)

    def output_rows(self, x: Tensor, *, name="output_rows") -> Tensor:
        """The rows of x whose logits are wanted: [T, E] → [outputs, E]."""
        return self._append("output_rows", [x], {}, name)

    def rms_norm(
        self,
        x: Tensor,
        weight: np.ndarray,
        eps: float,
        *,
        groups: int = 0,
        first: int = 0,
        residual: Tensor | None = None,
        name="norm",
    ) -> Tensor:
        """groups: weight [groups · D] norms so many heads from column `first` on, each by itself;
        the rest is copied. residual: is added at the end."""
        attributes = {"eps": float(eps), "groups": groups, "first": first}
        inputs = [x, self._constant(weight), residual]
        return self._append("rms_norm", inputs, attributes, name)

    def layer_norm(
        self, x: Tensor, weight, bias, eps: float, *, groups: int = 0, name="norm"
    ) -> Tensor:
        """bias: or None. groups: as in `rms_norm`."""
        inputs = [x, self._constant(weight), self._constant(bias)]
        attributes = {"eps": float(eps), "groups": groups}
        return self._append("layer_norm", inputs, attributes, name)

    def matmul(
        self,
        x: Tensor,
        weight,
        bias: np.ndarray | None = None,
        *,
        activation: str = "none",
        residual: Tensor | None = None,
        name="matmul",
    ) -> Tensor:
        """activation(x @ weightᵀ + bias) + residual; weight [N, K] packed, bias [N].

        A gated weight holds gate and up [2F, K]; the result is activation(gate) · up (+ residual):
        SwiGLU and its like.
        """
        inputs = [x, self._matrix(weight), self._constant(bias), residual]
        return self._append("matmul", inputs, {"activation": activation}, name)

    def route(
        self,
        logits: Tensor,
        k: int,
        *,
        scoring: str = "softmax",
        bias: np.ndarray | None = None,
        renormalise: bool = False,
        scale: float = 1.0,
        groups: int = 1,
        kept_groups: int = 1,
        name="route",
    ) -> Tensor:
        """The k experts of each token and their weights: [T, X] → [T, 2k]."""
        attributes = {
            "k": k,
            "scoring": scoring,
            "renormalise": renormalise,
            "scale": float(scale),
            "groups": groups,
            "kept_groups": kept_groups,
        }
        return self._append("route", [logits, self._constant(bias)], attributes, name)

    def moe(
        self,
        x: Tensor,
        routes: Tensor,
        experts: list,
        *,
        biases: tuple[np.ndarray, np.ndarray] | None = None,
        activation: str = "silu",
        residual: Tensor | None = None,
        name="moe",
    ) -> Tensor:
        """Σ weight · down(activation(gate(x)) · up(x)) over the routes' experts (+ residual).

        experts: for each, its gated matrix of gate and up [2F, E], and down [E, F]. biases: those
        of gates and ups, one expert's after the other's [experts · 2F], and of downs [experts · E].
        """
        matrices = [self._matrix(weight) for pair in experts for weight in pair]
        up_bias, down_bias = map(self._constant, biases or (None, None))
        inputs = [x, routes, residual, up_bias, down_bias, *matrices]
        return self._append("moe", inputs, {"activation": activation}, name)

    def rope_table(self, frequencies: RopeFrequencies, *, name="rope_table") -> Tensor:
        """Cosines and sines of this step's positions, once for all layers: [T, R]."""
        attributes = {"scale": float(frequencies.scale)}
        if frequencies.dynamic is not None:
            base, factor, length = frequencies.dynamic
            attributes |= {
                "dynamic_base": float(base),
                "dynamic_factor": float(factor),
                "dynamic_length": int(length),
            }
        inputs = [self.positions, self._constant(frequencies.inv_freq)]
        return self._append("rope_table", inputs, attributes, name)

    def rope(
        self, x: Tensor, table: Tensor, *, heads: int, head_dim: int, interleaved=False, name="rope"
    ) -> Tensor:
        """Rotates the first `heads` heads of every row, copies the rest."""
        attributes = {"heads": heads, "head_dim": head_dim, "interleaved": bool(interleaved)}
        return self._append("rope", [x, table], attributes, name)

    def attention(
        self,
        qkv: Tensor,
        *,
        heads: int,
        kv_heads: int,
        head_dim: int,
        scale: float | None = None,
        window: int = 0,
        sinks: int = 0,
        cap: float | None = None,
        slopes: np.ndarray | None = None,
        sink_logits: np.ndarray | None = None,
        name="attention",
    ) -> Tensor:
        """Causal attention over the KV cache; q, k, v side by side → [T, heads · head_dim].

        scale: of the scores, head_dim ** -0.5 by default. window: see only the last `window`
        positions (0: all) and the first `sinks`. cap: scores become cap · tanh(score / cap).
        slopes [heads]: ALiBi, a score loses its head's slope for every token of distance.
        sink_logits [heads]: a score more in each softmax, whose value is zero. Each call is a layer
        of the cache of its own.
        """
        attributes = {
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "scale": float(head_dim**-0.5 if scale is None else scale),
            "cap": float(cap or 0),
            **self._sight(window, sinks),
        }
        inputs = [qkv, self._constant(slopes), self._constant(sink_logits)]
        out = self._append("attention", inputs, attributes, name)
        self.attention_layers.append(AttentionLayer(kv_heads, head_dim))
        return out

    def head_matmul(self, x: Tensor, weights: list, *, first=0, name="head_matmul") -> Tensor:
        """Every head's K columns of x, side by side from column `first` on, times a matrix [N, K]
        of its own: [T, ...] → [T, heads · N]."""
        inputs = [x, *map(self._matrix, weights)]
        return self._append("head_matmul", inputs, {"first": first}, name)

    def latent_attention(
        self,
        q: Tensor,
        turned: Tensor,
        rows: Tensor,
        *,
        heads: int,
        latent: int,
        rotated: int,
        scale: float,
        name="attention",
    ) -> Tensor:
        """Causal attention whose heads all read one row a token, and get of it what is key and
        value at once: q [T, heads · latent], turned [T, heads · rotated, then anything], rows [T,
        rotated + latent] → [T, heads · latent]. See `genfast.ops.latent_attention`."""
        attributes = {
            "heads": heads,
            "latent": latent,
            "rotated": rotated,
            "scale": float(scale),
            **self._sight(0, 0),
        }
        out = self._append("latent_attention", [q, turned, rows], attributes, name)
        self.attention_layers.append(AttentionLayer(1, latent + rotated, latent))
        return out

    def _sight(self, window: int, sinks: int) -> dict:
        """How far the next layer of the cache looks back, and which it is."""
        if self._window:
            window = min(window or self._window, self._window)
            sinks = max(sinks, self._sinks)
        return {"window": window, "sinks": sinks, "layer": len(self.attention_layers)}

    def causal_conv1d(
        self,
        x: Tensor,
        weight: np.ndarray,
        bias: np.ndarray | None = None,
        *,
        first: int = 0,
        activation: str = "none",
        name="conv",
    ) -> Tensor:
        """Each channel's weighted sum of its last W tokens, those before this step included:
        weight [W, C] → [T, C]. first: of the columns of x, the first of the C."""
        inputs = [x, self._constant(weight), self._constant(bias)]
        attributes = {"first": first, "activation": activation}
        return self._append("causal_conv1d", inputs, attributes, name)

    def selective_scan(
        self,
        x: Tensor,
        dt: Tensor,
        bc: Tensor,
        gate: Tensor | None,
        *,
        rates: np.ndarray,
        skip: np.ndarray,
        dt_bias: np.ndarray | None = None,
        heads: int,
        head_dim: int,
        state: int,
        groups: int = 1,
        first: tuple[int, int, int, int] = (0, 0, 0, 0),
        dt_limits: tuple[float, float] = (0.0, float("inf")),
        name="scan",
    ) -> Tensor:
        """The recurrence of Mamba and Mamba 2, see `genfast.ops.selective_scan`.

        first: where the columns of x, of dt, of B and then C, and of the gate begin. rates: A.
        """
        inputs = [x, dt, bc, gate, *map(self._constant, (rates, skip, dt_bias))]
        attributes = {
            "heads": heads,
            "head_dim": head_dim,
            "state": state,
            "groups": groups,
            "by_channel": rates.ndim == 2,
            "dt_min": float(dt_limits[0]),
            "dt_max": float(dt_limits[1]),
        }
        attributes |= zip(("first", "first_dt", "first_bc", "first_z"), first, strict=True)
        return self._append("selective_scan", inputs, attributes, name)

    def wkv4(self, k: Tensor, v: Tensor, w: np.ndarray, u: np.ndarray, *, name="wkv") -> Tensor:
        """The attention of RWKV 4, see `genfast.ops.wkv4`: [T, C]."""
        return self._append("wkv4", [k, v, self._constant(w), self._constant(u)], {}, name)

    def multiply(
        self,
        x: Tensor,
        y: Tensor | np.ndarray,
        residual: Tensor | None = None,
        *,
        first: int = 0,
        name="gated",
    ) -> Tensor:
        """x · y (+ residual), number by number. y: a tensor, of whose columns those from `first` on
        count, or an array [columns of x] for all rows."""
        return self._append("multiply", [x, self._array(y), residual], {"first": first}, name)

    def wkv6(
        self, columns, w, vectors, *, heads: int, head_dim: int, eps: float, name="wkv"
    ) -> Tensor:
        """See `genfast.ops.wkv6`. columns: r, k, v, g; w: a tensor or, for all tokens, an array;
        vectors: u, weight, bias."""
        inputs = [*columns, self._array(w), *map(self._constant, vectors)]
        attributes = {"heads": heads, "head_dim": head_dim, "eps": float(eps)}
        return self._append("wkv6", inputs, attributes, name)

    def wkv7(
        self, columns, vectors, blend, *, heads: int, head_dim: int, eps: float, name="wkv"
    ) -> Tensor:
        """See `genfast.ops.wkv7`. columns: r, w, k, v, a, g; vectors: k_k to bias; blend: (v_first,
        m) or None."""
        inputs = [*columns, *map(self._constant, vectors), *(blend or ())]
        attributes = {"heads": heads, "head_dim": head_dim, "eps": float(eps)}
        return self._append("wkv7", inputs, attributes, name)

    def concat(self, x: Tensor, y: Tensor, *, name="concat") -> Tensor:
        """Columns of x and then those of y, row by row."""
        return self._append("concat", [x, y], {"items": 0}, name)

    def swiglu(self, x: Tensor, *, activation: str = "silu", name="swiglu") -> Tensor:
        """activation(gate) · up for x = gate, up side by side: [rows, 2F] → [rows, F]."""
        return self._append("swiglu", [x], {"kind": activation}, name)

    def activation(self, x: Tensor, kind: str, *, name="activation") -> Tensor:
        return self._append("activation", [x], {"kind": kind}, name)

    def bound(self, x: Tensor, limit: float, *, soft: bool = False, name="bound") -> Tensor:
        """x kept within ±limit; soft: limit · tanh(x / limit)."""
        return self._append("bound", [x], {"limit": float(limit), "soft": soft}, name)

    def softmax(self, x: Tensor, *, log: bool = False, name="softmax") -> Tensor:
        return self._append("softmax", [x], {"log": log}, name)
