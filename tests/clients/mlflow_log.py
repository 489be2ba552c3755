"""MLflow, with a store in a file: an evaluation is logged and read back.

`MLFLOW_TRACKING_URI` names the store, `REPORT` a results folder. Runs in the environment that
`prepare.py` makes: MLflow's requirements do not fit beside ours.
"""

import os
from pathlib import Path

from mlflow import MlflowClient

from distill.evaluate.trackers import numbers, track
from distill.results import read_report
from distill.trackers import check_trackers

folder = Path(os.environ["REPORT"])
report = read_report(folder)
check_trackers("eval.track", ["mlflow"])
track(report, [folder / "report.json"], ["mlflow"])

client = MlflowClient()
(experiment,) = client.search_experiments(filter_string=f"name = '{report.name}'")
(run,) = client.search_runs([experiment.experiment_id])
assert run.info.status == "FINISHED", run
assert run.data.metrics == numbers(report), run.data.metrics
assert run.data.tags["decision"] == report.decision.action, run.data.tags
names = {file.path for file in client.list_artifacts(run.info.run_id)}
assert names == {"report.json", "config.json"}, names
print("mlflow ok")
