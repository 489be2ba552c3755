"""The numbers of an evaluation in an experiment tracker: W&B or MLflow, when `eval.track` says so.

Where a tracker is, and under which key and project, is said as its own users say it: in the
environment (`WANDB_MODE`, `WANDB_PROJECT`, `MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME`). Both
work without a server: W&B with `WANDB_MODE=offline`, MLflow with a `sqlite:///` address.

    student/call_accuracy = 0.717  student/call_accuracy_low = 0.66  failures/student/extra_call = 9
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from distill.results import SHARES, Report, Share

Tracker = Callable[[Report, Sequence[Path]], None]


def track(report: Report, files: Sequence[Path], names: Sequence[str]) -> None:
    """Log an evaluation.

    Args:
        report: Its results.
        files: What was written of it.
        names: Which trackers.
    """
    for name in names:
        TRACKERS[name](report, files)


def numbers(report: Report) -> dict[str, float]:
    """Return every number of a report that was counted, by a name with slashes."""
    found: dict[str, float] = {}
    for name, model in report.models.items():
        for _, field, _ in SHARES:
            found |= _share(f"{name}/{field}", getattr(model, field))
        values = {
            "abstention_f1": model.abstention.f1,
            "decision_f1": model.decision_f1,
            "parallel_f1": model.parallel.f1,
            "latency_p50_s": model.latency_s.p50,
            "latency_p95_s": model.latency_s.p95,
            "latency_p99_s": model.latency_s.p99,
            "cost_per_1000": model.cost.per_1000 if model.cost else None,
        }
        found |= {f"{name}/{key}": value for key, value in values.items() if value is not None}
        found |= {f"{name}/pass_{one.k}": one.value for one in model.pass_k}
        if model.agreement:
            found |= _share(f"{name}/agreement", model.agreement)
        found |= {f"failures/{name}/{code}": float(n) for code, n in model.failures.items()}
    for suite in report.suites:
        for part, shares in suite.parts.items():
            for name, share in shares.items():
                found |= _share(f"{suite.name}/{part.replace(' ', '_')}/{name}", share)
    if versus := report.student_vs_base:
        found |= {"versus_base/difference": versus.difference, "versus_base/p": versus.p}
    if gap := report.gap_closed:
        found |= {"gap_closed": gap.value, "gap_closed_low": gap.low, "gap_closed_high": gap.high}
    return found


def about(report: Report) -> dict[str, str]:
    """Return what tells evaluations apart."""
    hashes = ("cases_hash", "toolset_hash", "dataset_hash", "weights_hash")
    known = {name: str(getattr(report, name)) for name in hashes}
    said = {"decision": report.decision.action, "complete": str(report.complete)}
    return known | said | {f"version_{name}": version for name, version in report.versions.items()}


def _share(name: str, share: Share) -> dict[str, float]:
    if share.value is None:
        return {}
    return {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high}


def _wandb(report: Report, files: Sequence[Path]) -> None:
    import wandb

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", report.name),
        job_type="eval",
        dir=str(files[0].parent),
        config={"distill": report.config, **about(report)},
        settings=wandb.Settings(silent=True),
    )
    run.log(numbers(report))
    artifact = wandb.Artifact(f"{report.name}-report", type="report")
    for path in files:
        artifact.add_file(str(path))
    run.log_artifact(artifact)
    run.finish()


def _mlflow(report: Report, files: Sequence[Path]) -> None:
    import mlflow

    if "MLFLOW_EXPERIMENT_NAME" not in os.environ:
        mlflow.set_experiment(report.name)
    with mlflow.start_run(run_name=f"eval {report.created_at}"):
        mlflow.log_metrics(numbers(report))
        mlflow.set_tags(about(report))
        mlflow.log_dict(report.config, "config.json")
        for path in files:
            mlflow.log_artifact(str(path))


TRACKERS: Mapping[str, Tracker] = {"wandb": _wandb, "mlflow": _mlflow}
