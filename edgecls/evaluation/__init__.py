"""How often a classifier is right, how sure that is, and whether another is worse."""

from edgecls.evaluation.classes import ClassShare, by_class, targets
from edgecls.evaluation.predictions import BEST, Predictions
from edgecls.evaluation.statistics import Difference, Share, difference

__all__ = ["BEST", "ClassShare", "Difference", "Predictions", "Share", "by_class", "difference", "targets"]
