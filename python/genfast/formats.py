"""The formats that `load` packs weights, keys and values in, by name."""

QUANTISED = ("int8", "int4", "fp8")  # of weights, in place of what they are stored as
WEIGHTS = ("float32", "bfloat16", *QUANTISED)
KEYS_AND_VALUES = ("float32", "bfloat16", *QUANTISED)
