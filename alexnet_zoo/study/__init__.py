"""Studies: a claim of the paper as a planned comparison of arms, each trained from several seeds.

study.py reads what is planned, runner.py trains it, measures.py reads what the runs left behind, statistics.py compares
them, summary.py says what that means for each claim. `report` draws it.
"""
