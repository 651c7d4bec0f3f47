"""Examples of programs around a model file, with the model, its labels and its preprocessing in place.

Their texts are in `templates`, as they are written; what differs from model to model is in files of data.
"""

from edgecls.apps.about import About
from edgecls.apps.folder import check, writing

__all__ = ["About", "check", "writing"]
