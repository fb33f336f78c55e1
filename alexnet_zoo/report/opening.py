"""What the report opens with: the lowest error on each data set, and how many of the paper's claims were tried."""

from collections.abc import Sequence
from dataclasses import dataclass

from alexnet_zoo.report.admission import FULL_PRECISION
from alexnet_zoo.report.formats import Figure, Table
from alexnet_zoo.report.measured import Result, Results, RunRecord
from alexnet_zoo.report.paper import Paper
from alexnet_zoo.report.tables import error_figure

CARDS = 5


@dataclass(frozen=True)
class Card:
    """Holds the lowest top-1 error measured on one data set.

    Attributes: data, its name; others, the same network with fewer crops; networks, of how many it is the lowest; run,
    None where only its results.csv was given.
    """

    data: str
    result: Result
    others: list[Result]
    networks: int
    run: RunRecord | None

    @property
    def error(self) -> Figure:
        return error_figure(self.result.top1_err, self.result.images)

    @property
    def hardware(self) -> str:
        """The devices of the training: "2 × NVIDIA A100", "AMD EPYC, 2 cores"; "" where not recorded."""
        environment, kinds = (self.run.environment, self.run.processes) if self.run else ({}, [])
        device = environment.get("device", "")
        if any(str(process["device"]).startswith("cuda") for process in kinds):
            return f"{self.run.devices} × {device}"
        return f"{device}, {environment['cores']} cores" if device and "cores" in environment else device

    @property
    def time(self) -> str:
        """How long the steps took, in the unit that fits; "" where not recorded."""
        minutes = self.run.minutes() if self.run else None
        if minutes is None:
            return ""
        number, unit = next((n, u) for n, u in ((minutes, "minutes"), (minutes / 60, "hours"), (minutes / 1440, "days"))
                            if n < 90 or u == "days")  # fmt: skip
        return f"{number:.{0 if number >= 10 else 1}f} {unit}"

    @property
    def guesses(self) -> bool:
        """Whether the interval holds the error of guessing among the classes."""
        classes = self.run.classes if self.run else None
        return bool(classes) and self.error.low <= 100 * (1 - 1 / classes) <= self.error.high


def cards(results: Results) -> list[Card]:
    """At most five, the data set with the most images first; none for networks that do no better than guessing.

    Networks are compared with the most crops that they were measured with.
    """
    runs = {result.key: run for run in reversed(results.runs) for result in run.results}
    by_data: dict[str, dict[str, list[Result]]] = {}
    for result in sorted(results.results, key=lambda result: -result.views):
        if result.precision in FULL_PRECISION:
            networks = by_data.setdefault(result.verified or f"{result.dataset} {result.split}", {})
            run = runs.get(result.key)  # which may have exported several files of its network
            network = run.name if run else result.onnx_sha256
            networks.setdefault(network, []).append(result)
    found = []
    for data, networks in by_data.items():
        best, *others = min(networks.values(), key=lambda measured: measured[0].top1_err)
        others = [one for one in others if one.onnx_sha256 == best.onnx_sha256 and one.views < best.views]
        found.append(Card(data, best, others, len(networks), runs.get(best.key)))
    return sorted([card for card in found if not card.guesses], key=lambda card: -card.result.images)[:CARDS]


def claims_tried(paper: Paper, tables: Sequence[Table], studied: Sequence[str]) -> str:
    """Says how many claims were tried, on the paper's data or other: "2 of 20 claims tried".

    Args: studied, the ids of claims that a study compared.
    """
    by_text = {claim.claim: claim.id for claim in paper.claim}
    rows = [row for table in tables if table.name in ("claims", "elsewhere") for row in table.measured().rows]
    tried = {by_text[str(row[0])] for row in rows}
    return f"{len(tried | ({*studied} & {*by_text.values()}))} of {len(by_text)} claims tried"
