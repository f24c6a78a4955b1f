"""A calibration for people: the fitted parameters, the check on held-out levels, and two plots."""

from collections.abc import Mapping, Sequence

from swarm.report.plot import Axis, plot
from swarm.simulator.profiles.fitting import Fitted

Errors = Mapping[int, Sequence[tuple[int, float]]]
"""By level: requests in the step, and predicted / measured - 1."""


def parameters(fitted: Mapping[str, Fitted]) -> str:
    lines = [f"{'parameter':20} {'value':>9}  95% interval"]
    lines += [f"{name:20} {one.value:9.4g}  {one.low:.4g} .. {one.high:.4g}" for name, one in fitted.items()]
    return "\n".join(lines)


def constants(found: Sequence[tuple[str, float, float, bool]]) -> str:
    """A server's constants: what they mean, the profile's value, the server's, and whether its answers tell it."""
    lines = [f"{'constant':52} {'profile':>9} {'server':>9}"]
    for meaning, before, value, told in found:
        lines.append(f"{meaning:52} {before:9.4g} {f'{value:9.4g}' if told else '     as is, not told'}")
    return "\n".join(lines)


def answers(errors: Mapping[str, float]) -> str:
    """How far the fitted profile is off at each question."""
    return "\n".join([f"{'question':52} off by", *(f"{key:52} {error:6.1%}" for key, error in errors.items())])


def checks(errors: Errors, held_out: Mapping[int, float | None]) -> str:
    lines = ["agents  stretches  mean error, fitted  mean error, held out"]
    for level, found in errors.items():
        mean = sum(abs(error) for _, error in found) / len(found)
        without = held_out[level]
        check = "the other levels do not tell" if without is None else f"{without:.1%}"
        lines.append(f"{level:6}  {len(found):9}  {mean:18.1%}  {check:>20}")
    return "\n".join(lines)


def residuals(errors: Errors) -> str:
    """An SVG: the error of each stretch against the requests in its steps."""
    most = max(number for found in errors.values() for number, _ in found)
    worst = max(0.05, *(abs(error) * 1.1 for found in errors.values() for _, error in found))
    series = {
        f"{level} agent{'s' * (level > 1)}": [(number, error * 100) for number, error in found]
        for level, found in errors.items()
    }
    return plot(
        "Predicted step against measured: residuals",
        Axis("requests in the step", 0, most + 1),
        Axis("residual, %", -100 * worst, 100 * worst),
        series,
        reference=[(0, 0), (most + 1, 0)],
    )
