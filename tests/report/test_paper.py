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
        for pair in claim.pairs:
            assert len(pair) == (1 if claim.kind in ("data_wait", "colour", "picture") else 2), claim.id


def test_the_challenge_by_year():
    years = {year: error for year, _, error in load_paper().best_top5()}
    assert years == {2010: 28.2, 2011: 25.8, 2012: 15.3, 2013: 11.7, 2014: 6.7, 2015: 3.57}
