"""A report as a flat dict of floats, as MLflow, Weights & Biases and TensorBoard take it."""

from __future__ import annotations

from hitl_fast._common.trackers import flat

from .results import PreIndexResults

SCALARS = (
    "index", "distance", "inverse_ari", "u", "effort_score", "path_excess", "probe_increase", "probe_error",
    "accuracy_drop",
    "input_rms", "resque_angle", "cka", "class_mean_cka", "clean_probe_error", "confidence_drop", "samples",
    "clean_samples", "classes", "left_out",
)  # fmt: skip


def metrics(report: PreIndexResults) -> dict[str, float]:
    """Every number of the report by name; what it does not have is left out."""
    found = {name: getattr(report, name) for name in SCALARS}
    found |= {f"accuracy_{side}": value for side, value in (report.accuracy or {}).items()}
    for name, cluster in report.clusters.items():
        found[f"ari_{name.replace('++', '_plusplus')}"] = None if cluster is None else cluster.ari
    for bins, values in (report.distances or {}).items():
        found |= {f"{measure}_{bins}": value for measure, value in values.items()}
    for name, layer in report.layers.items():
        found[f"layers/{name}"] = layer.distances[report.measure_bins][report.measure]
    found |= {f"seconds_{part}": value for part, value in report.seconds.items()}
    for name, (low, high) in (report.intervals or {}).items():
        found |= {f"{name}_low": low, f"{name}_high": high}
    return flat(found)
