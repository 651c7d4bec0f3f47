"""Fine-tuning on class folders: Keras's own fit, of the head on cached features, then of the whole network.

`record` is pure data; `stages` is the work of the child process, `pictures` what it feeds to Keras.
Everything a run needs to go on after a kill is in its state folder:

    plan.json               what was asked for
    pictures.raw            the decoded pictures, uint8; unreadable.json names those that are none
    features.raw            what the frozen backbone makes of them, float32
    epochs.jsonl            one `Epoch` a line, written when its weights are safe
    best-STAGE-N.weights.h5 the best weights of each stage
    head/, whole/           Keras's backups of the stage that is under way
    model.keras             the result, before it moves to its place
"""
