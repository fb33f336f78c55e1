"""Measures speed, as ratios between candidates in one run; BENCHMARKS names what `alexzoo benchmark` knows."""

from alexnet_zoo.benchmark.data import gathering, loading, preparing
from alexnet_zoo.benchmark.feeding import feeding
from alexnet_zoo.benchmark.inference import evaluation, inference
from alexnet_zoo.benchmark.peaks import peaks
from alexnet_zoo.benchmark.training import lrn, modes, training
from alexnet_zoo.benchmark.two_devices import columns

BENCHMARKS = {  # each takes measure.Options and returns rows for show.table
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
