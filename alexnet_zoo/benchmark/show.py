"""Shows the rows of a benchmark: tables for a reader, CSV under timm's names, JSON with every single time."""

import json
from pathlib import Path

import pandas as pd

PREFIXES = {"inference": "infer_", "training": "train_"}  # of the columns that timm's tables have for both
TIMM_COLUMNS = ("samples_per_sec", "step_time", "batch_size", "img_size", "gmacs")
Columns = dict[str, str]  # what stands over a column, and how str.format makes its cells of a row

SPEED = {
    "images/s": "{samples_per_sec:.1f}",
    "(min to max)": "({samples_per_sec_min:.1f} to {samples_per_sec_max:.1f})",
    "times": "{ratio:.2f}",
    "(min to max) ": "({ratio_min:.2f} to {ratio_max:.2f})",
    "GMACs": "{gmacs:.2f}",
    "of peak": "{peak_share:.0%}",
    "GB/s": "{gb_per_s:.1f}",
    "TFLOP/s": "{tflops:.2f}",
    "launches": "{launches:.0f}",
    "waits": "{waits:.0f}",
}
COST = {
    "p50 ms": "{p50:.1f}",
    "p90 ms": "{p90:.1f}",
    "p99 ms": "{p99:.1f}",
    "load s": "{load_s:.2f}",
    "first run ms": "{first_ms:.1f}",
    "memory MB": "{memory_mb:.0f}",
    "another class": "{disagreement:.2f}%",
}


def write(rows: list[dict], folder: Path, name: str) -> list[Path]:
    """Writes the rows as name.csv, timm's columns under timm's names, and as name.json; returns both paths."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = PREFIXES.get(rows[0]["benchmark"], "")
    frame = pd.DataFrame(rows).drop(columns="step_times", errors="ignore")
    frame = frame.rename(columns={column: f"{prefix}{column}" for column in TIMM_COLUMNS})
    frame.to_csv(folder / f"{name}.csv", index=False)
    (folder / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n")
    return [folder / f"{name}.csv", folder / f"{name}.json"]


def table(rows: list[dict]) -> str:
    """Lays out the rows for a reader; `times` says how many times as fast as each peer the first one is."""
    row = rows[-1]
    lines = [grid(rows, SPEED), ""]
    if row["benchmark"] == "inference":
        lines += [grid(rows, COST), ""]
        lines.append(f"Scenario: {row['scenario']}. Another class than {rows[0]['peer']}: of {row['checked']}.")
    lines.append(
        f"batch {row['batch_size']}, {row['repetitions']} turns of each, interleaved, {row['runs']} runs of the last; "
        f"{row['threads']} threads, {row['cores']} cores, {row['device']}, torch {row['torch']}, "
        f"onnxruntime {row['onnxruntime']}"
    )
    if "peak_gflops" in row:
        lines.append(f"Matrix peak measured here: {row['peak_gflops']:.0f} GFLOP/s, float32, the same threads.")
    return "\n".join([*lines, disturbed(row)])


def disturbed(row: dict) -> str:
    """Says whether the machine did other things too."""
    if row["idle"]:
        return "Nothing else used the machine."
    return (
        f"The machine was not idle (load average {row['load']} before the run, others used {row['others']} cores "
        "during it): take the ratios, and those with care."
    )


def grid(rows: list[dict], columns: Columns, names: list[str] | None = None) -> str:
    """Lays out those of the columns that some row has a value for, behind the rows' names: network and peer."""
    names = names or [f"{row['model'].removeprefix('alexnet_'):16} {row['peer']}" for row in rows]
    cells = {"": names} | {head: [cell(row, form) for row in rows] for head, form in columns.items()}
    cells = {head: column for head, column in cells.items() if any(column)}
    widths = {head: max(map(len, (head, *column))) for head, column in cells.items()}
    lines = [" ".join(f"{head:>{width}}" for head, width in widths.items())]
    for number in range(len(rows)):
        aligned = (f"{cells[head][number]:{'>' if head else '<'}{width}}" for head, width in widths.items())
        lines.append(" ".join(aligned).rstrip())
    return "\n".join(lines)


def cell(row: dict, form: str) -> str:
    """Fills in a cell; it stays empty where the row lacks the value."""
    try:
        return form.format(**row)
    except (KeyError, TypeError):  # TypeError: None does not take a number's format
        return ""
