"""Image classifiers, from an architecture's name to a small, fast, verified file on a phone.

    import edgecls
    model = edgecls.build("mobilenet_v2")                       # a Keras model
    artifacts = edgecls.export("mobilenet_v2", precisions=["int8"])
    profiles = edgecls.profile(["mobilenet_v2"])

Each verb is imported when it is first used; importing edgecls loads no framework.
"""

from importlib import import_module

_VERBS = {
    "build": "edgecls.builder",
    "check_calibration": "edgecls.verbs.calibrate",
    "export": "edgecls.verbs.export",
    "finetune": "edgecls.verbs.finetune",
    "profile": "edgecls.verbs.profile",
    "push": "edgecls.verbs.push",
    "verify": "edgecls.verbs.verify",
    "inspect": "edgecls.verbs.inspect",
    "tune": "edgecls.verbs.tune",
    "evaluate": "edgecls.verbs.evaluate",
}

__version__ = "0.1.0"
__all__ = [*_VERBS, "__version__"]


def __getattr__(name):
    if name in _VERBS:
        return getattr(import_module(_VERBS[name]), name)
    raise AttributeError(f"module 'edgecls' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
