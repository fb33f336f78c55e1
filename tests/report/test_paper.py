import pytest

from alexnet_zoo.report.claims import MEASURES, QUANTITIES
from alexnet_zoo.report.counts import COUNTED, counts_table
from alexnet_zoo.report.paper import load_paper


def test_the_printed_tables():
    """Typed here a second time, from the paper's page 7."""
    paper = load_paper()
    table1 = {row.row: (row.published.top1, row.published.top5) for row in paper.rows("Table 1")}
    assert table1["Sparse coding"] == (47.1, 28.2)
    assert table1["SIFT + FVs"] == (45.7, 25.7)
    assert table1["CNN"] == (37.5, 17.0)
    table2 = {r.row: (r.published.top1, r.published.top5, r.published.top5_test) for r in paper.rows("Table 2")}
    assert table2 == {
        "SIFT + FVs": (None, None, 26.2),
        "1 CNN": (40.7, 18.2, None),
        "5 CNNs": (38.1, 16.4, 16.4),
        "1 CNN*": (39.0, 16.6, None),
        "7 CNNs*": (36.7, 15.4, 15.3),
    }


def test_the_authors_runs_round_to_the_printed_digit():
    """What facts/original-runs.md says of them; it would find a figure typed wrong on either side."""
    paper = load_paper()
    for row in paper.row:
        if row.net:
            net = paper.find_net(row.net)
            for metric in ("top1", "top5"):
                printed = getattr(row.published, metric)
                assert abs(net.error(metric, row.measured_by.views) - printed) <= 0.05 + 1e-9, row.id
    for claim in paper.claim:
        for metric in ("top1", "top5"):
            if claim.nets:
                difference = paper.authors_effect(claim, metric) - paper.published_effect(claim, metric)
                assert abs(difference) <= 0.051, claim.id


def test_names_that_point_elsewhere_exist():
    paper = load_paper()
    ids = [row.id for row in paper.row] + [claim.id for claim in paper.claim]
    assert len(ids) == len(set(ids))
    for claim in paper.claim:
        assert claim.published or paper.published_effect(claim, "top1") is not None, claim.id
        assert claim.kind in ("error", *QUANTITIES, *MEASURES), claim.id
        for pair in claim.pairs:
            alone = claim.kind in ("data_wait", "colour", "picture", "days", "test_gap")
            assert len(pair) == (1 if alone else 2), claim.id
    depth = next(claim for claim in paper.claim if claim.id == "depth")
    assert all(f"reproduce {recipe} " in depth.command for pair in depth.pairs for recipe in pair)


def test_what_can_be_counted():
    """Against section 3.5's kernels, multiplied out here."""
    weights = [11 * 11 * 3 * 96, 5 * 5 * 48 * 256, 3 * 3 * 256 * 384, 3 * 3 * 192 * 384, 3 * 3 * 192 * 256]
    maps = [96, 256, 384, 384, 256]
    fully = 9216 * 4096 + 4096 * 4096 + 4096 * 1000 + 4096 + 4096 + 1000
    total = sum(weights) + sum(maps) + fully
    rows = {line[0]: line for line in counts_table(load_paper()).rows}
    assert rows["60 million parameters"][3].value == total == 60_965_224
    shares = COUNTED["convolutional_shares"]()
    assert list(shares.values()) == pytest.approx([100 * (w + b) / total for w, b in zip(weights, maps, strict=True)])
    verdict = rows["Each convolutional layer holds no more than 1% of the parameters"][4]
    assert verdict == "contradicted by count: conv3, conv4"
    assert rows["Neurons of the image and of layers 1 to 8"][4] == "differs by count: conv1 +14.6%"
    convolutional = 55 * 55 * 96 + 27 * 27 * 256 + 13 * 13 * (384 + 384 + 256)
    assert rows["650,000 neurons"][3].value == convolutional + 2 * 4096 + 1000
    assert rows["Crops and mirror images enlarge the training set by a factor of 2,048"][3].value == 33 * 33 * 2
    assert rows["ImageNet: over 15 million images"][3] is None  # nobody counted them


def test_the_challenge_by_year():
    years = {year: error for year, _, error in load_paper().best_top5()}
    assert years == {2010: 28.2, 2011: 25.8, 2012: 15.3, 2013: 11.7, 2014: 6.7, 2015: 3.57}
