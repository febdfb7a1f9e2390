"""genfast: fast, reproducible inference for generative models. See `genfast.load`."""

from genfast import ops
from genfast._core import cpu_info
from genfast.api import Model, load
from genfast.async_stream import AsyncStream
from genfast.calibrate import calibrate
from genfast.confidence import Calibration
from genfast.errors import (
    ComputeError,
    DeadlineError,
    DeviceError,
    GenfastError,
    GrammarError,
    LoadError,
    QueueFull,
)
from genfast.images.pipelines.base import ImagePipeline
from genfast.images.result import ImageResult
from genfast.invariance import InvarianceCheck, check_invariance
from genfast.receipt import Receipt, Replay, replay
from genfast.results import Chunk, Generation, Score, Timings, TokenLogprobs, Usage
from genfast.sampling import Sampling
from genfast.tool_calls import ToolCall

__version__ = "0.1.0"
__all__ = [
    "AsyncStream",
    "Calibration",
    "Chunk",
    "ComputeError",
    "DeadlineError",
    "DeviceError",
    "Generation",
    "GenfastError",
    "GrammarError",
    "ImagePipeline",
    "ImageResult",
    "InvarianceCheck",
    "LoadError",
    "Model",
    "QueueFull",
    "Receipt",
    "Replay",
    "Sampling",
    "Score",
    "Timings",
    "TokenLogprobs",
    "ToolCall",
    "Usage",
    "__version__",
    "calibrate",
    "check_invariance",
    "cpu_info",
    "load",
    "ops",
    "replay",
]
