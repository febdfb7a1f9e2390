"""Images: schedulers, networks, and the programs of fixed sizes that networks run as.

A model file records into an `ImageGraph` (graph.py) with weights of `ImageWeights` (weights.py);
`Runner` (runner.py) runs what was recorded, once a step of whatever loop stands around it.
"""
