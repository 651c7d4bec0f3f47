"""How close logits are to those of a float model, and what that means for the file that gave them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgecls.artifact import Agreement, CalibrationInfo, Tolerance
from edgecls.errors import WorkFailed

#: Stands for a power or a deviation of zero.
_TINY = float(np.finfo(np.float32).tiny)
#: Least probability that is told from zero: an int8 softmax knows multiples of 1/256.
_LEAST = 1e-6
#: A tensor with a larger share of its values at the ends of its type has lost something.
_MAX_SATURATION = 0.01
#: On fewer pictures no file is OK.
_FEW = 8
#: Fewer calibration pictures find ranges too narrow; sixteen photographs found those of a hundred.
_FEW_CALIBRATED = 16


def sqnr_db(reference: np.ndarray, value: np.ndarray) -> float | None:
    """Power of `reference` over power of the difference, dB; None where there is no difference."""
    noise = np.square(reference - value, dtype=np.float64).sum()
    signal = np.square(reference, dtype=np.float64).sum()
    return float(10 * np.log10(max(signal, _TINY) / noise)) if noise else None


def cosine(reference: np.ndarray, value: np.ndarray) -> float:
    """Of the angle between rows, mean over rows; 1 where the direction is the same."""
    reference, value = reference.astype(np.float64), value.astype(np.float64)
    lengths = np.linalg.norm(reference, axis=1) * np.linalg.norm(value, axis=1)
    return float(((reference * value).sum(axis=1) / np.maximum(lengths, _TINY)).mean())


def divergence(reference: np.ndarray, value: np.ndarray, *, probabilities: bool = False) -> float:
    """Kullback-Leibler divergence of softmax(value) from softmax(reference), nats, mean over rows.

    probabilities: both are softmaxes already.
    """
    expected, found = (log_softmax(_log(side) if probabilities else side) for side in (reference, value))
    return max(0.0, float((np.exp(expected) * (expected - found)).sum(axis=1).mean()))


def log_softmax(values: np.ndarray) -> np.ndarray:
    """Over rows, float64."""
    shifted = values.astype(np.float64) - values.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def softmax(values: np.ndarray) -> np.ndarray:
    """Over rows, float32."""
    return np.exp(log_softmax(values)).astype(np.float32)


def _log(probabilities):
    return np.log(np.maximum(probabilities, _LEAST))


def best(values: np.ndarray, count: int) -> np.ndarray:
    """Indices of the `count` largest of each row, largest first; of equals the first."""
    return np.argsort(-values, axis=1, kind="stable")[:, :count]


def agreement(
    reference: np.ndarray,
    logits: np.ndarray,
    *,
    pictures: str,
    tolerance: Tolerance,
    saturation: Mapping[str, float],
    probabilities: bool = False,
) -> Agreement:
    """Compare logits (count, classes) with those of the float model.

    pictures: what they were computed on, in words. saturation: of the file's tensors. probabilities:
    both are softmaxes.
    Raises WorkFailed for shapes that differ and logits that are not finite.
    """
    if reference.shape != logits.shape:
        raise WorkFailed(f"the file gives logits of shape {logits.shape}, its float model {reference.shape}")
    for whose, values in (("float model", reference), ("file", logits)):
        if not np.isfinite(values).all():
            raise WorkFailed(f"the {whose} gives logits that are not finite; its weights are damaged")
    wanted, found = best(reference, 5), best(logits, 5)
    figures = {
        "sqnr_db": sqnr_db(reference, logits),
        "cosine": cosine(reference, logits),
        "max_error": float(np.abs(reference - logits).max() / max(reference.std(), _TINY)),
        "kl": divergence(reference, logits, probabilities=probabilities),
        "top1": float((wanted[:, 0] == found[:, 0]).mean()),
        "top5": float((wanted[:, :, None] == found[:, None]).any(axis=2).mean()),
        "saturation": saturation,
        "samples": len(reference),
        "tolerance": tolerance,
    }
    verdict, reason = _judge(**figures)
    return Agreement(**figures, pictures=pictures, verdict=verdict, reason=reason)


def _judge(*, sqnr_db, kl, top1, saturation, samples, tolerance, **_):
    """(verdict, reason)."""
    ratio = np.inf if sqnr_db is None else sqnr_db
    broken, reasons = ratio < tolerance.min_sqnr_db, []
    if broken:
        reasons.append(f"{ratio:.1f} dB, at least {tolerance.min_sqnr_db:g} dB wanted")
    elif ratio < tolerance.ok_sqnr_db:
        reasons.append(f"{ratio:.1f} dB, under {tolerance.ok_sqnr_db:g} dB nets begin to lose accuracy")
    elif kl > tolerance.ok_kl:
        reasons.append(f"its probabilities diverge by {kl:.2g} nats, up to {tolerance.ok_kl:g} is sound")
    if is_cut_off(saturation):
        worst = max(saturation, key=saturation.get)
        reasons.append(f"{100 * saturation[worst]:.1f}% of the values of tensor {worst} are beyond its range")
    if samples < _FEW:
        reasons.append(f"judged on {samples} pictures, {_FEW} at least say something")
    verdict = "BROKEN" if broken else "CAUTION" if reasons else "OK"
    return verdict, "; ".join([*reasons, f"the same best class on {100 * top1:.0f}% of the pictures"])


def is_cut_off(saturation: Mapping[str, float]) -> bool:
    """Whether a tensor loses more than a trifle at the ends of its range."""
    return max(saturation.values(), default=0.0) > _MAX_SATURATION


def next_step(
    agreement: Agreement, precision: str, calibration: CalibrationInfo | None, *, per_tensor: bool = False
) -> str | None:
    """What to do about a file that is not OK. calibration: what its ranges were taken from; per_tensor:
    its weights have one scale for each tensor."""
    if agreement.verdict == "OK":
        return None
    if calibration is not None and calibration.source == "synthetic":
        return "calibrate on photographs: --calibration DIR"
    if calibration is not None and calibration.count < _FEW_CALIBRATED:
        return f"calibrate on 100 photographs, not {calibration.count}: --calibration DIR"
    if calibration is not None and is_cut_off(agreement.saturation):
        return "calibrate on pictures like those that it will see: --calibration DIR"
    if precision == "fp16":
        return "use the float32 file: this model's values do not fit float16"
    if precision == "fp32":
        return "the conversion is at fault: use another format, and report this"
    if per_tensor:
        return "leave out --per-tensor where the target can do without, or use fp16; `edgecls inspect` names the layers at fault"
    if calibration is not None:
        return "`edgecls inspect` names the layers at fault, `edgecls tune` keeps those in float, fp16 all"
    return "try another recipe, fp16 first: `edgecls recipes` explains them"
