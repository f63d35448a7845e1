"""The loop that all stages share: processes, accumulation, averages, states to go on from, TensorBoard."""

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gvf_core.errors import FileFormatError, SettingsError
from gvf_core.training.activation_checkpointing import recompute_activations
from gvf_core.training.draws import Draws, Examples, seed_of
from gvf_core.training.optimisation import (
    UNREADABLE,
    FiniteSteps,
    MovingAverage,
    ParameterGroup,
    force_to_disk,
    make_optimizers,
    set_rates,
    spoilt_unless_finite,
    unreadable,
)
from gvf_core.training.settings import LoopSettings, changed_settings
from gvf_core.training.training_log import INSTALL, LossSums, Report, TrainingLog

if TYPE_CHECKING:
    from accelerate import Accelerator

LOGGER = logging.getLogger(__name__)

_STATE, _OLD_STATE, _NEW_STATE = "state", "state.old", "state.part"
_PROGRESS = "progress.json"
_VERSION = 1


class Stage(Protocol):
    """A module whose `forward` takes a batch of examples and gives losses, among them their sum "total"."""

    def groups(self) -> list[ParameterGroup]:
        """What is trained, and at which rates."""
        ...

    def export(self, folder: Path, state: Mapping[str, Tensor]) -> None:
        """Write weights under official names, from the whole state dict of the module."""
        ...

    def pictures(self, batch: Sequence[Any]) -> Float[Tensor, "3 height width"] | None:
        """What the networks make of a batch beside what it should be, if that can be seen."""
        ...


def make_accelerator(settings: LoopSettings) -> "Accelerator":
    """The processes that train together, as `accelerate launch` or a plain start has them.

    Raises:
        SettingsError: The package is not installed.
    """
    try:
        from accelerate import Accelerator
    except ImportError as error:
        raise SettingsError("Training takes the package accelerate, which is not installed.", INSTALL) from error
    return Accelerator(mixed_precision=settings.precision)


def has_state(folder: Path) -> bool:
    """Whether a training in a folder can be gone on with."""
    return any((folder / name).is_dir() for name in (_STATE, _OLD_STATE))


class Trainer:
    """One training of a stage.

    Everything random is a function of the seed and the number of the step, so a training that goes on from a saved
    state has the same losses as one that was never stopped.

    Args:
        stage: Networks and losses; a `Stage` that is a module.
        examples: What to learn from.
        settings: How.
        folder: For states and logs.
        weights: Folder that exported weights go into.
        accelerator: From `make_accelerator`.
        told: All that the training depends on, by name, which a resumed one must share; None for `settings` alone.

    Raises:
        SettingsError: The optimizer does not go with FSDP.
    """

    def __init__(
        self,
        stage: nn.Module,
        examples: Examples[Any],
        settings: LoopSettings,
        folder: Path,
        weights: Path,
        accelerator: "Accelerator",
        told: Mapping[str, Any] | None = None,
    ) -> None:
        self._told = asdict(settings) if told is None else told
        self.settings, self.folder, self.weights = settings, folder, weights
        self.accelerator = accelerator
        self._draws: Draws[Any] = Draws(examples, settings.seed)
        self.stage = stage
        if self._sharded and settings.optimizer == "muon":
            raise SettingsError("Muon needs whole matrices, which FSDP divides.", 'Choose optimizer = "adamw".')
        if self._sharded:
            # On by default at launch; it fails on buffers, which are not divided, and every process has all weights.
            accelerator.state.fsdp_plugin.cpu_ram_efficient_loading = False
        if settings.activation_checkpointing:
            recompute_activations(stage)
        # Before it is wrapped: where parameters are spread over processes, the wrapper replaces them in the groups.
        optimizers = make_optimizers(stage.groups(), settings)  # type: ignore[operator]
        self._network, *self._optimizers = accelerator.prepare(stage, *optimizers)
        trained = [parameter for parameter in self._network.parameters() if parameter.requires_grad]
        self._average, self._finite = MovingAverage(trained, settings.average), FiniteSteps()
        self.step = 0

    def run(self, minutes: float = float("inf"), on_report: Callable[[Report], None] | None = None) -> None:
        """Train until the number of steps is reached or the time is up; save, and export the averaged weights.

        Args:
            minutes: Wall clock.
            on_report: Called on the main process every `report_every` steps and at the end.

        Raises:
            SettingsError: Losses or gradients are no finite numbers any more; what was saved before stays.
        """
        started = reported = time.monotonic()
        first, sums = self.step, LossSums()
        batches = self._draws.ahead(self._numbers(), self.settings.workers)
        with TrainingLog(self.folder / "log", self.step, self.accelerator.is_main_process) as log:
            while self.step < self.settings.steps and not self._time_is_up(started, minutes):
                rate = set_rates(self._optimizers, self.step, self.settings)
                batch = self._update(batches, sums)
                self._average.update(self.step)
                self.step += 1
                if self.step % self.settings.report_every == 0 or self.step == self.settings.steps:
                    seconds = (time.monotonic() - reported) / (self.step - first)
                    report = Report(self.step, sums.means(self.accelerator), rate, seconds)
                    log.scalars(report)
                    if on_report is not None and self.accelerator.is_main_process:
                        on_report(report)
                    reported, first, sums = time.monotonic(), self.step, LossSums()
                if self.step % self.settings.picture_every == 0:
                    self._draw(log, batch)
                if self.step % self.settings.save_every == 0:
                    self.save()
        batches.close()
        self.save()

    def save(self) -> None:
        """Write the state to go on from, and export the averaged weights."""
        new, state, old = (self.folder / name for name in (_NEW_STATE, _STATE, _OLD_STATE))
        if self.accelerator.is_main_process:
            shutil.rmtree(new, ignore_errors=True)
            self.folder.mkdir(parents=True, exist_ok=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(new))
        torch.save(self._average.state(), new / f"average_{self.accelerator.process_index}.pt")
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            progress = {
                "version": _VERSION,
                "step": self.step,
                "processes": self.accelerator.num_processes,
                "settings": self._told,
            }
            (new / _PROGRESS).write_text(json.dumps(progress, indent=2), encoding="utf-8")
            force_to_disk(*(path for path in new.rglob("*") if path.is_file()))
            # Two renames, because no system renames onto a full folder; `restore` knows the place in between. What lies
            # there goes only when something newer is in place: a save may be stopped between them twice in a row.
            if state.exists():
                shutil.rmtree(old, ignore_errors=True)
                state.rename(old)
            new.rename(state)
            shutil.rmtree(old, ignore_errors=True)
        self._export()

    def restore(self) -> None:
        """Go on where `save` was called last.

        Raises:
            FileFormatError: There is no state, or it is of other networks or another number of processes.
            SettingsError: Settings differ that make it another training.
        """
        state = next((self.folder / name for name in (_STATE, _OLD_STATE) if (self.folder / name).is_dir()), None)
        if state is None:
            raise FileFormatError(f"There is nothing in {self.folder} to go on with.", "Train from the start.")
        try:
            progress = json.loads((state / _PROGRESS).read_text(encoding="utf-8"))
            if progress["version"] != _VERSION or progress["processes"] != self.accelerator.num_processes:
                raise ValueError(f"it was made by {progress['processes']} processes")
            if changed := changed_settings(progress["settings"], self._told):
                raise SettingsError(
                    f"The training in {self.folder} cannot go on with other settings: {'; '.join(changed)}.",
                    "Go on with those that it began with, or choose another RUN.",
                )
            self.accelerator.load_state(str(state))
            average = state / f"average_{self.accelerator.process_index}.pt"
            self._average.restore(torch.load(average, weights_only=True, map_location="cpu"))
            if not isinstance(step := progress["step"], int) or step < 0:
                raise ValueError(f"it says step {step!r}")
            self.step = step
        except UNREADABLE as error:
            hint = "Train from the start, or with the settings and as many processes as before."
            raise unreadable(state, error, hint) from error

    def _numbers(self) -> Iterator[int]:
        """Numbers of this process's examples from the present step on: processes share what one alone would see."""
        own = self.settings.batch
        shared = own * self.accelerator.num_processes
        first = self.step * self.settings.accumulation * shared + self.accelerator.process_index * own
        return (begin + place for begin in count(first, shared) for place in range(own))

    def _update(self, batches: Any, sums: "LossSums") -> list[Any]:
        """Gradients of some batches, one update of the weights; returns the last batch."""
        accumulation = self.settings.accumulation
        self._network.train()
        batch: list[Any] = []
        for part in range(accumulation):
            batch = [next(batches) for _ in range(self.settings.batch)]
            # For layers that draw in training, such as those that are left out at random.
            torch.manual_seed(seed_of(self.settings.seed, self.step, part, self.accelerator.process_index))
            last = part == accumulation - 1
            with nullcontext() if last else self.accelerator.no_sync(self._network):
                losses = self._network(batch)
                self.accelerator.backward(spoilt_unless_finite(losses["total"]) / accumulation)
            sums.add(losses)
        # All parameters, frozen ones too: by that list accelerate recognises a network that is spread over processes.
        norm = self.accelerator.clip_grad_norm_(self._network.parameters(), self.settings.clip)
        takes = self._finite.takes(norm, self.step)
        for optimizer in self._optimizers:
            # The scaler of half precision leaves the step out by itself, and has to see it to scale down.
            if takes or self.accelerator.scaler is not None:
                optimizer.step()
            optimizer.zero_grad()
        return batch

    def _time_is_up(self, started: float, minutes: float) -> bool:
        """Whether the main process says so: all have to stop at the same step."""
        if minutes == float("inf"):
            return False
        over = torch.tensor(float(time.monotonic() - started > 60 * minutes), device=self.accelerator.device)
        return bool(self.accelerator.reduce(over, reduction="sum") > 0)  # type: ignore[operator]

    def _draw(self, log: "TrainingLog", batch: list[Any]) -> None:
        if not self.accelerator.is_main_process or self._sharded:
            return
        self._network.eval()
        with self._average.in_place():
            picture = self.stage.pictures(batch)  # type: ignore[operator]
        if picture is not None:
            log.picture(picture, self.step)

    def _export(self) -> None:
        with self._average.in_place():
            # Gathered by all processes where parameters are spread over them.
            state = self.accelerator.get_state_dict(self._network)
        if self.accelerator.is_main_process:
            self.weights.mkdir(parents=True, exist_ok=True)
            self.stage.export(self.weights, state)  # type: ignore[operator]
        self.accelerator.wait_for_everyone()

    @property
    def _sharded(self) -> bool:
        return "FSDP" in str(self.accelerator.distributed_type)
