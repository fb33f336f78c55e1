"""The published numbers: reports/paper.toml, typed."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from alexnet_zoo.declared import Strict, declared
from alexnet_zoo.errors import UserError

Metric = Literal["top1", "top5"]


class Errors(Strict):
    """Error rates in percent, or effects in percentage points."""

    top1: float | None = None
    top5: float | None = None
    top5_test: float | None = None  # Table 2's last column, from the challenge's test server


class MeasuredBy(Strict):
    """Which line of a results.csv fills a row of the paper."""

    identity: str  # what the data was verified to be, e.g. "ILSVRC-2012 val"
    split: str
    views: int | None  # None: any
    recipes: list[str]


class PublishedRow(Strict):
    id: str
    table: str
    row: str
    section: str
    unit: Literal["error"]
    published: Errors
    net: str | None = None
    measured_by: MeasuredBy | None = None
    command: str = ""


class PublishedNet(Strict):
    """One of the authors' own runs, from the notes in their hyper-parameter files."""

    name: str
    what: str
    data: str
    recipe: str | None = None
    ten_crop: Errors
    centre: Errors | None = None

    def error(self, metric: Metric, views: int) -> float | None:
        errors = self.ten_crop if views == 10 else self.centre
        return getattr(errors, metric) if errors else None


class Stated(Strict):
    """What the text says of an effect: its size, or only words with the bound that it should lie below."""

    top1: float | None = None
    top5: float | None = None
    ratio: float | None = None  # of the first run to the second
    words: str | None = None
    at_least: bool = False  # "by over 1%"
    below: float | None = None


class Claim(Strict):
    id: str
    claim: str
    section: str
    kind: str  # what is compared: "error", or one of the measures of claims.py
    unit: Literal["points", "ratio", "share", "picture", "loss", "days"]
    published: Stated | None = None
    rows: list[str] = []  # published as two rows of [[row]], first - second, instead
    nets: list[str] = []
    pairs: list[list[str]]  # recipes: first - second, or first / second
    identity: str
    views: list[int] = [10, 10]
    command: str

    def arm(self, recipe: str, views: int | None = None) -> MeasuredBy:
        """What measures one side of the claim; its curves are of a network measured with any views."""
        return MeasuredBy(identity=self.identity, split=self.identity.split()[-1], views=views, recipes=[recipe])

    def arms(self) -> list[MeasuredBy]:
        """Every side of every pair, once."""
        of_errors = self.kind in ("error", "test_gap")
        sides = [side for pair in self.pairs for side in zip(pair, self.views, strict=False)]
        return [self.arm(*side) for side in dict.fromkeys(side if of_errors else (side[0], None) for side in sides)]


class Count(Strict):
    """A number of the text that can be counted, without training anything."""

    id: str  # the function of counts.py that counts it
    claim: str
    section: str
    published: list[float]  # one, or one for each layer
    decimals: int = 0
    at_most: bool = False  # published is an upper bound
    command: str  # shows the same count


class Best(Strict):
    """The challenge's best top-5 test error of one year, in percent; or the row of the paper that is it."""

    year: int
    entry: str
    top5: float | None = None
    row: str | None = None
    figure: str = "top5"


class Human(Strict):
    what: str
    top5: float


class About(Strict):
    title: str
    authors: str
    venue: str
    year: int


class Paper(Strict):
    paper: About
    row: list[PublishedRow]
    net: list[PublishedNet]
    claim: list[Claim]
    count: list[Count]
    challenge: list[Best]
    human: Human

    def rows(self, table: str) -> list[PublishedRow]:
        return [row for row in self.row if row.table == table]

    def find_row(self, row_id: str) -> PublishedRow:
        return next(row for row in self.row if row.id == row_id)

    def find_net(self, name: str) -> PublishedNet:
        return next(net for net in self.net if net.name == name)

    def best_top5(self) -> list[tuple[int, str, float]]:
        """(year, entry, top-5 test error in percent) of every year of the challenge."""
        return [
            (best.year, best.entry, best.top5 or getattr(self.find_row(best.row).published, best.figure))
            for best in self.challenge
        ]

    def published_effect(self, claim: Claim, metric: Metric) -> float | None:
        """The effect on one error that the text states, or that two rows of its tables give, in points."""
        if not claim.rows:
            return getattr(claim.published, metric)
        first, second = (getattr(self.find_row(row).published, metric) for row in claim.rows)
        return None if first is None or second is None else round(first - second, 2)

    def authors_effect(self, claim: Claim, metric: Metric) -> float | None:
        """The same effect between two of the authors' own runs, in points; None where they left no such pair."""
        if not claim.nets:
            return None
        first, second = (self.find_net(n).error(metric, v) for n, v in zip(claim.nets, claim.views, strict=True))
        return None if first is None or second is None else round(first - second, 2)


@cache
def load_paper(path: Path | None = None) -> Paper:
    """Reads paper.toml (the shipped one by default). Raises UserError that names the field."""
    path = path or declared("reports", "paper")
    try:
        return Paper.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: {error}", exit_code=2) from error
