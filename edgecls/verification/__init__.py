"""Does an artifact compute what its float model computes?"""

from edgecls.verification.checking import answers, check
from edgecls.verification.measures import agreement, next_step, sqnr_db
from edgecls.verification.running import dequantized, logits, oriented, quantized

__all__ = ["agreement", "answers", "check", "dequantized", "logits", "next_step", "oriented", "quantized", "sqnr_db"]
