"""Where the error of a quantized file arises, layer by layer."""

from edgecls.inspection.finding import blamed, finding, suspects, worst
from edgecls.inspection.layers import LayerError, errors
from edgecls.inspection.matching import Match, match

__all__ = ["LayerError", "Match", "blamed", "errors", "finding", "match", "suspects", "worst"]
