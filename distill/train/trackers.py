"""The numbers of a training run in experiment trackers, when `train.track` names any.

The Trainer's own callbacks log what `metrics.jsonl` holds (loss, validation, executed tokens) under
the names that their users know (`train/loss`, `eval/loss`; MLflow: `loss`, `eval_loss`). Here is
said where to: one run of each tracker a training run, under the name of the distillation, unless
the tracker's environment variables say otherwise. Nothing else is sent: no weights, no data.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

from transformers import TrainerCallback
from transformers.integrations.integration_utils import (
    MLflowCallback,
    TensorBoardCallback,
    TrackioCallback,
    WandbCallback,
)

from distill.config import Config
from distill.errors import TrainError

_Start = Callable[[ExitStack, Config, int], TrainerCallback]


@contextmanager
def tracked(config: Config, step: int) -> Iterator[list[TrainerCallback]]:
    """Open the trackers of a config and give the Trainer's callbacks for them.

    Args:
        config: Whose `train.track` names them.
        step: That training goes on from; what TensorBoard holds beyond it is superseded.

    Raises:
        TrainError: One did not start: its server is away, or wants a key.
    """
    with ExitStack() as stack:
        callbacks = []
        for name in config.train.track:
            try:
                callbacks.append(_STARTS[name](stack, config, step))
            except Exception as error:  # every tracker has a tree of its own
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                raise TrainError(f"train.track: {name!r} did not start: {reason}") from error
        yield callbacks


def run_name(config: Config) -> str:
    """Return what a run is called: its folder, and of a part of `--curve` its number of rows."""
    folder = config.run_dir
    name = f"{folder.parents[1].name}/{folder.name}" if folder.parent.name == "curve" else None
    return f"train {name or folder.name}"


def _tensorboard(stack: ExitStack, config: Config, step: int) -> TrainerCallback:
    from torch.utils.tensorboard import SummaryWriter

    folder = os.environ.get("TENSORBOARD_LOGGING_DIR") or str(config.run_dir / "tensorboard")
    writer = SummaryWriter(folder, purge_step=step + 1)
    stack.callback(writer.close)
    return TensorBoardCallback(writer)  # type: ignore[no-untyped-call]


def _wandb(stack: ExitStack, config: Config, step: int) -> TrainerCallback:
    import wandb

    stack.enter_context(
        wandb.init(
            project=os.environ.get("WANDB_PROJECT", config.name),
            name=os.environ.get("WANDB_NAME", run_name(config)),
            job_type="train",
            dir=os.environ.get("WANDB_DIR", str(config.run_dir)),
            config={"distill": config.model_dump(mode="json")},
            settings=wandb.Settings(silent=True),
        )
    )
    return WandbCallback()  # type: ignore[no-untyped-call]


def _mlflow(stack: ExitStack, config: Config, step: int) -> TrainerCallback:
    import mlflow

    if "MLFLOW_EXPERIMENT_NAME" not in os.environ:
        mlflow.set_experiment(config.name)
    # The callback ends a run that came to its end; what is still open has failed.
    stack.callback(mlflow.end_run, "FAILED")
    return MLflowCallback()  # type: ignore[no-untyped-call]


def _trackio(stack: ExitStack, config: Config, step: int) -> TrainerCallback:
    return TrackioCallback()  # type: ignore[no-untyped-call]


_STARTS: Mapping[str, _Start] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
    "trackio": _trackio,
}
