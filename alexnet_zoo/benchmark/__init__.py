"""Measures speed, as ratios between candidates in one run; BENCHMARKS names what `alexzoo benchmark` knows."""

from collections.abc import Callable

from alexnet_zoo.benchmark.data import gathering, loading, preparing
from alexnet_zoo.benchmark.feeding import feeding
from alexnet_zoo.benchmark.inference import evaluation, inference
from alexnet_zoo.benchmark.measure import Options
from alexnet_zoo.benchmark.peaks import peaks
from alexnet_zoo.benchmark.training import lrn, modes, training
from alexnet_zoo.benchmark.two_devices import columns

BENCHMARKS: dict[str, Callable[[Options], list[dict]]] = {  # each returns rows for show.table
    "inference": inference,
    "evaluation": evaluation,
    "training": training,
    "modes": modes,
    "lrn": lrn,
    "peaks": peaks,
    "columns": columns,
    "prepare": preparing,
    "gather": gathering,
    "loader": loading,
    "feeding": feeding,
}
