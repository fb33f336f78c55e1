"""What `alexzoo study` does, and what it says beforehand."""

import math
from pathlib import Path

from alexnet_zoo.declared import list_declared, notes_of
from alexnet_zoo.files import check_writable
from alexnet_zoo.study import runner, statistics
from alexnet_zoo.study.study import FOLDER, Comparison, Study, load_study
from alexnet_zoo.study.summary import RULES


def run(name: str | None, data: Path | None, out: Path | None, jobs: int, list_: bool, dry_run: bool) -> None:
    """Runs the study NAME in `out`, or only lists its commands, or says what it will do; no name: lists the plans."""
    if name is None:
        for path in list_declared(FOLDER):
            print(f"{path.stem:16} {notes_of(path)['title']}")
        return
    plan = load_study(name)
    out = out or runner.STUDIES / plan.name
    if list_:
        print(*runner.Jobs(plan, out, data).lines(), sep="\n")
    elif dry_run:
        print(describe(plan, runner.Jobs(plan, out, data), jobs))
    else:
        check_writable(out / "report.md")
        runner.run(plan, out, data, jobs)


def describe(plan: Study, jobs: runner.Jobs, at_a_time: int) -> str:
    """The arms, what is left to train and for how long, the comparisons with their power, the rules of the verdicts."""
    lines = [f"{plan.name}, on {plan.data}: {plan.scale}"]
    for arm, own in plan.arms.items():
        done = [job.ended for (name, _), job in jobs.runs.items() if name == arm]
        changes = " ".join(plan.set_lines(own.set)) or "as above"
        lines.append(f"  {arm:24} {len(done)} seeds, {sum(done)} ended: {changes}")
    left = sum(not job.ended for job in jobs.runs.values())
    lines.append(f"{left} of {len(jobs.runs)} runs are left")
    if plan.pilot:
        each = f"{plan.pilot.minutes:g} minutes each, {at_a_time} at a time"
        lines[-1] += f": {left * plan.pilot.minutes / 60 / at_a_time:.1f} hours ({each})"
        lines.append(f"power, from the pilot: {plan.pilot.source}")
    lines += [f"  {comparison.name}, {comparison.measure}: {expected(plan, comparison)}" for comparison in plan.compare]
    return "\n".join([*lines, *filter(None, [plan.rule, RULES])])


def expected(plan: Study, comparison: Comparison) -> str:
    """What a comparison can find, in words."""
    first, second = map(plan.seeds_of, comparison.arms)
    least = statistics.least_p(first, second, comparison.same_networks)
    hardest = plan.level / len(plan.compare)
    text = f"smallest p {least:.2g}"
    if least > hardest:
        text += f", over the {hardest:.2g} that Holm asks of the first" if least <= plan.level else ", never under 5%"
    if plan.pilot is None or comparison.measure != "test_error" or comparison.same_networks:
        return f"{text}; power not known"
    asked = (comparison.smallest, *spread_of(plan, comparison))
    said = []
    for chance in (statistics.power, statistics.exclusion):
        alone, corrected = (100 * chance(*asked, level) for level in (plan.level, hardest))
        said.append(f"in {corrected:.0f}% of studies ({alone:.0f}% were it the only question)")
    found, excluded = said
    points = f"{comparison.smallest:g} point{'s' * (comparison.smallest != 1)}"
    return f"{text}; an effect of {points} is found {found}; where there is none, it is excluded {excluded}"


def spread_of(plan: Study, comparison: Comparison) -> tuple[float, float]:
    """The standard error of a difference in test error, and its degrees of freedom, as the pilot has them.

    What makes an image hard for both arms cancels; what they differ in, `apart`, is sampled with the images.
    """
    runs = [plan.seeds_of(arm) for arm in comparison.arms]
    seeds = [plan.pilot.sd**2 / n for n in runs]
    variance = sum(seeds) + 100 * plan.pilot.apart / plan.pilot.images
    df = variance**2 / sum(part**2 / (n - 1) for part, n in zip(seeds, runs))
    return math.sqrt(variance), df
