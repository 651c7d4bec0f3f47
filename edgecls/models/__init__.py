"""The architectures: one file per family, each a plain function on Keras tensors ending in logits."""
