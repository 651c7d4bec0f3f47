"""Does an artifact compute what its float model computes?"""

from edgecls.verification.checking import answers, check, compare
from edgecls.verification.measures import agreement, next_step, sqnr_db
from edgecls.verification.running import dequantized, logits, quantized

__all__ = [
    "agreement",
    "answers",
    "check",
    "compare",
    "dequantized",
    "logits",
    "next_step",
    "quantized",
    "sqnr_db",
]
