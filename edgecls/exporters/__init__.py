"""From a Keras model to files: freeze once, convert to each format once, quantize as often as asked.

Each function that does heavy work runs in a child process of its own (see `edgecls.process`).
"""
