"""Pipelines: what `genfast.load` gives for a directory of an image model."""
