"""Lines on what was measured: what int8 bought, light against heavy, runtimes and phones against each other."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from edgecls.profiling import Profile
from edgecls.spec import Tier

#: Runtimes are called level below this ratio: two runs of one file differ as much.
_LEVEL = 1.03


def summary_lines(profiles: Sequence[Profile]) -> list[str]:
    """One line per question that these profiles can answer.

    Ratios of several measurements are geometric means. Those that failed, or ran in an emulator, take no part.
    """
    measured = [profile for profile in profiles if profile.timing and not profile.emulated]
    lines = []
    for here in _grouped(measured, lambda p: p.place):
        told = filter(None, (_int8(here), _tiers(here), _runtimes(here)))
        lines += [f"{here[0].place}: {line}" if here[0].place else line for line in told]
    return lines + _phones(measured)


def _int8(profiles) -> str | None:
    """Each int8 file against the fp32 file of the same model and runtime."""
    gains = []
    for group in _grouped(profiles, lambda p: (p.subject.model, p.runtime)):
        by_precision = {profile.subject.precision: profile for profile in group}
        if {"fp32", "int8"} <= set(by_precision):
            wide, narrow = by_precision["fp32"], by_precision["int8"]
            speed_up = wide.timing.median_ms / narrow.timing.median_ms
            gains.append((speed_up, wide.subject.bytes / narrow.subject.bytes, narrow))
    if not gains:
        return None
    speed_up, size_ratio = (_mean(gain[i] for gain in gains) for i in (0, 1))
    text = f"int8 against fp32: {_faster(speed_up)}, files {size_ratio:.2f}x smaller"
    if len(gains) > 1:
        best, worst = (pick(gains, key=lambda gain: gain[0]) for pick in (max, min))
        text += f" (geometric mean of {len(gains)}; best {_gain(best)}; worst {_gain(worst)})"
    return text


def _tiers(profiles) -> str | None:
    """Heavy models against light ones, within each runtime and precision that has both."""
    times, macs = [], []
    for group in _grouped(profiles, lambda p: (p.runtime, p.subject.precision)):
        light, heavy = ([p for p in group if p.subject.tier == tier and p.subject.macs] for tier in Tier)
        if light and heavy:
            times.append(_mean(p.timing.median_ms for p in heavy) / _mean(p.timing.median_ms for p in light))
            macs.append(_mean(p.subject.macs for p in heavy) / _mean(p.subject.macs for p in light))
    if not times:
        return None
    fastest, slowest = (pick(profiles, key=lambda p: p.timing.median_ms) for pick in (min, max))
    return (
        f"heavy against light: {_mean(macs):.1f}x the MACs take {_mean(times):.1f}x the time "
        f"(fastest {_case(fastest)}; slowest {_case(slowest)})"
    )


def _runtimes(profiles) -> str | None:
    """Runtimes against each other, per precision, on the models that all of them ran."""
    verdicts = []
    for group in _grouped(profiles, lambda p: p.subject.precision):
        precision = group[0].subject.precision
        medians: dict[str, dict[str, float]] = defaultdict(dict)
        for profile in group:
            medians[profile.runtime][profile.subject.model] = profile.timing.median_ms
        shared = set.intersection(*(set(times) for times in medians.values()))
        if len(medians) < 2 or not shared:
            continue
        means = {runtime: _mean(times[model] for model in shared) for runtime, times in medians.items()}
        winner, second = sorted(means, key=means.get)[:2]
        wins = sum(medians[winner][model] < medians[second][model] for model in shared)
        lead = means[second] / means[winner]
        if lead < _LEVEL:
            verdict = f"{winner} and {second} are level"
        else:
            verdict = f"{winner} is {_faster(lead)} than {second}"
        verdicts.append(f"{verdict} at {precision} ({winner} ahead on {wins} of {len(shared)})")
    return "; ".join(verdicts) if verdicts else None


def _phones(profiles) -> list[str]:
    """Each phone against this computer, on the files that both ran with as many threads."""
    lines = []
    same_file = _grouped(profiles, lambda p: (p.subject.sha256, p.runtime, p.settings.threads))
    for place in dict.fromkeys(profile.place for profile in profiles if profile.place):
        ratios = []
        for group in same_file:
            there, here = ([p for p in group if p.place == where] for where in (place, None))
            if there and here:
                ratios.append((there[-1].timing.median_ms / here[-1].timing.median_ms, there[-1]))
        if not ratios:
            continue
        text = f"{place} takes {_mean(ratio for ratio, _ in ratios):.2f}x the time of this computer"
        if len(ratios) > 1:
            least, most = (pick(ratios, key=lambda ratio: ratio[0]) for pick in (min, max))
            text += f" (geometric mean of {len(ratios)}; {_times(least)} to {_times(most)})"
        lines.append(text)
    return lines


def _times(entry) -> str:
    ratio, profile = entry
    return f"{ratio:.2f}x, {profile.subject.model} {profile.subject.precision}"


def _grouped(profiles: Iterable[Profile], key: Callable[[Profile], Hashable]) -> list[list[Profile]]:
    groups = defaultdict(list)
    for profile in profiles:
        groups[key(profile)].append(profile)
    return list(groups.values())


def _mean(ratios: Iterable[float]) -> float:
    return statistics.geometric_mean(ratios)


def _faster(speed_up: float) -> str:
    return f"{speed_up:.2f}x faster" if speed_up >= 1 else f"{1 / speed_up:.2f}x slower"


def _gain(gain) -> str:
    speed_up, _, profile = gain
    return f"{_faster(speed_up)}, {profile.subject.model} on {profile.runtime}"


def _case(profile) -> str:
    subject = profile.subject
    return f"{profile.timing.median_ms:.2f} ms, {subject.model} {subject.precision} on {profile.runtime}"
