"""What genfast raises. A message names what was found, what was expected and what to do about it.

A bad *argument* is a plain ValueError; these are for everything else a caller may want to catch.
"""


class GenfastError(Exception):
    """Any failure that is genfast's own to report."""


class LoadError(GenfastError):
    """A model directory that cannot be opened: a file, a field or a tensor in it is wrong."""


class QueueFull(GenfastError):
    """More requests are waiting than the queue was made to hold."""


class DeadlineError(GenfastError):
    """A request whose `deadline_ms` would pass before its first token, as steps cost so far."""


class DeviceError(GenfastError, RuntimeError):
    """A GPU that was asked for and cannot be used: genfast's CUDA part, the driver or the device
    is missing."""


class GrammarError(GenfastError, ValueError):
    """A schema, regular expression or grammar that cannot be compiled, or that grew too complex."""


class ComputeError(GenfastError, RuntimeError):
    """A model's arithmetic broke down: its logits hold no finite number, or a check differs."""
