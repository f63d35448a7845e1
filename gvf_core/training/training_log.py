"""What is written down about a training: means of losses, TensorBoard, a line of JSON for every report."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gvf_core.errors import SettingsError

if TYPE_CHECKING:
    from accelerate import Accelerator

INSTALL = 'Install it with `pip install "gvf-blender[train]"`.'
REPORTS, PICTURE = "reports.jsonl", "newest.png"


@dataclass(frozen=True)
class Report:
    """How a training goes.

    Attributes:
        step: Updates so far.
        losses: Mean of each since the last report, over all processes.
        rate: Learning rate.
        seconds: For an update, mean since the last report.
    """

    step: int
    losses: dict[str, float]
    rate: float
    seconds: float

    def line(self) -> str:
        """All of it in one line."""
        losses = " ".join(f"{name} {value:.4g}" for name, value in self.losses.items())
        return f"step {self.step}: {losses} ({self.seconds:.2g} s a step)"


class LossSums:
    """Sums of losses since the last report."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, losses: dict[str, Tensor]) -> None:
        """Take the losses of a batch in."""
        for name, loss in losses.items():
            value = loss.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._count += 1

    def means(self, accelerator: "Accelerator") -> dict[str, float]:
        """Over batches and processes; called by all of them."""
        values = torch.stack([total / self._count for total in self._sums.values()])
        return dict(zip(self._sums, accelerator.reduce(values, reduction="mean").tolist(), strict=True))  # type: ignore[union-attr]


class TrainingLog:
    """Writes on the main process; on the others it does nothing.

    What an earlier training wrote beyond the step that this one begins with is left out.

    Args:
        folder: For everything.
        step: That the training begins with.
        writes: Whether this is the main process.
    """

    def __init__(self, folder: Path, step: int, writes: bool) -> None:
        self._folder, self._step, self._writes = folder, step, writes

    def __enter__(self) -> "TrainingLog":
        """Open the files.

        Raises:
            SettingsError: TensorBoard is not installed.
        """
        if not self._writes:
            return self
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SettingsError("Training takes the package tensorboard, which is not installed.", INSTALL) from error
        self._folder.mkdir(parents=True, exist_ok=True)
        self._keep_until(self._step)
        self._board = SummaryWriter(str(self._folder), purge_step=self._step)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the files."""
        if self._writes:
            self._board.close()

    def scalars(self, report: Report) -> None:
        """Losses, rate and time."""
        if not self._writes:
            return
        for name, value in report.losses.items():
            self._board.add_scalar(f"loss/{name}", value, report.step)
        self._board.add_scalar("rate", report.rate, report.step)
        self._board.add_scalar("seconds", report.seconds, report.step)
        line = {"step": report.step, "seconds": round(report.seconds, 3), "rate": report.rate} | report.losses
        with (self._folder / REPORTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def picture(self, picture: Float[Tensor, "3 height width"], step: int) -> None:
        """Targets beside renders; the newest also as a file."""
        if not self._writes:
            return
        self._board.add_image("target and render", picture, step)
        pixels = np.rint(255 * picture.permute(1, 2, 0).numpy()).astype(np.uint8)
        cv2.imwrite(str(self._folder / PICTURE), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    def _keep_until(self, step: int) -> None:
        path = self._folder / REPORTS
        if path.exists():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
            path.write_text("".join(line for line in lines if _step_of(line) <= step), encoding="utf-8")


def _step_of(line: str) -> float:
    """Of a report; infinite for a line that is none, such as one that a full disk cut off."""
    try:
        return float(json.loads(line)["step"])
    except (LookupError, RecursionError, TypeError, ValueError):
        return math.inf
