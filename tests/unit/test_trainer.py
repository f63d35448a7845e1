"""The loop of all stages: what a resumed or a divided training has in common with an unbroken one."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gvf_core.errors import FileFormatError, SettingsError
from gvf_core.training.draws import Draws
from gvf_core.training.optimisation import MovingAverage, make_optimizers, rate_factor, trainable
from gvf_core.training.settings import load_training_settings
from gvf_core.training.trainer import Trainer, make_accelerator
from tests.unit.bending_box import write_boxes
from tests.unit.small_stages import diffusion_stage, loop, motion_stage, settings, static_stage

pytest.importorskip("accelerate")
pytest.importorskip("tensorboard")

CHOSEN = settings("diffusion.frames=2", "diffusion.static_tokens=8", "motion.drop_path=0.3")


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    return write_boxes(tmp_path_factory.mktemp("boxes"))


def make_stage(name: str, boxes: Path, folder: Path):
    if name == "static":
        return static_stage(boxes, CHOSEN)
    return motion_stage(boxes, folder, CHOSEN) if name == "motion" else diffusion_stage(folder / "clips", CHOSEN)


def train(name: str, boxes: Path, folder: Path, steps: int, resume: bool = False, **changes) -> list[dict[str, float]]:
    """Losses of every step that is made."""
    chosen = loop(getattr(CHOSEN, name).loop, steps=6, save_every=100, picture_every=100, **changes)
    stage, examples = make_stage(name, boxes, folder)
    trainer = Trainer(stage, examples, chosen, folder / "run", folder / "weights", make_accelerator(chosen))
    if resume:
        trainer.restore()
    # The rates are those of the whole training, wherever it stops.
    trainer.settings = replace(chosen, steps=steps)
    losses: list[dict[str, float]] = []
    trainer.run(on_report=lambda report: losses.append(report.losses))
    return losses


@pytest.mark.parametrize("name", ["static", "motion", "diffusion"])
def test_a_resumed_training_has_the_losses_of_an_unbroken_one(name, boxes, tmp_path):
    whole = train(name, boxes, tmp_path / "whole", 4, decay_from=1.0)
    begun = train(name, boxes, tmp_path / "parts", 2, decay_from=1.0)
    rest = train(name, boxes, tmp_path / "parts", 4, resume=True, decay_from=1.0)
    assert len(begun + rest) == len(whole) == 4
    for again, expected in zip(begun + rest, whole, strict=True):
        assert again == pytest.approx(expected, rel=1e-6)
    for path in (tmp_path / "whole" / "weights").glob("*.safetensors"):
        again = load_file(tmp_path / "parts" / "weights" / path.name)
        for tensor_name, tensor in load_file(path).items():
            torch.testing.assert_close(again[tensor_name], tensor, rtol=1e-5, atol=1e-7)
    reports = (tmp_path / "parts" / "run" / "log" / "reports.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in reports] == [1, 2, 3, 4]


@pytest.fixture
def new_accelerator():
    """Processes keep the precision that they began with."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()


@pytest.mark.parametrize("name", ["static", "motion", "diffusion"])
def test_half_precision_and_recomputed_activations_begin_with_nearly_the_same_loss(
    name, boxes, tmp_path, new_accelerator
):
    half = train(name, boxes, tmp_path / "half", 2, precision="bf16", activation_checkpointing=True)
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    full = train(name, boxes, tmp_path / "full", 1)
    assert half[0]["total"] == pytest.approx(full[0]["total"], rel=0.1)
    assert all(value == value for losses in half for value in losses.values())


def test_accumulated_gradients_are_those_of_a_larger_batch(boxes, tmp_path):
    large = loop(CHOSEN.diffusion.loop, steps=1, save_every=100, picture_every=100)
    weights = []
    for batch, accumulation in ((2, 1), (1, 2)):
        folder = tmp_path / str(batch)
        chosen = replace(large, batch=batch, accumulation=accumulation, optimizer="adamw")
        stage, examples = diffusion_stage(folder / "clips", CHOSEN)
        Trainer(stage, examples, chosen, folder / "run", folder / "weights", make_accelerator(chosen)).run()
        weights.append(load_file(folder / "weights" / "dit.safetensors"))
    for name, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][name], tensor, rtol=1e-3, atol=1e-6)


def test_there_must_be_something_to_go_on_with(boxes, tmp_path):
    with pytest.raises(FileFormatError, match="nothing"):
        train("diffusion", boxes, tmp_path, 1, resume=True)


def test_a_save_that_is_stopped_between_its_renames_twice_loses_nothing(boxes, tmp_path, monkeypatch):
    def rename(path: Path, target: Path) -> Path:
        if path.name == "state.part":
            raise KeyboardInterrupt
        return path.replace(target)

    train("diffusion", boxes, tmp_path, 1)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", rename)
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                train("diffusion", boxes, tmp_path, 2, resume=True)
    assert len(train("diffusion", boxes, tmp_path, 2, resume=True)) == 1


def test_a_state_takes_its_place_only_once_it_is_on_the_disk(boxes, tmp_path, monkeypatch):
    on_disk, placed = set(), {}

    def fsync(descriptor: int) -> None:
        on_disk.add(os.fstat(descriptor).st_ino)

    def rename(path: Path, target: Path) -> Path:
        placed.update({file: file.stat().st_ino in on_disk for file in path.rglob("*") if file.is_file()})
        return path.replace(target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "rename", rename)
    train("diffusion", boxes, tmp_path, 1)
    assert len(placed) > 3 and all(placed.values())


@pytest.mark.parametrize("step", ["one", -1, None, 1.5])
def test_a_state_that_tells_no_step_is_named(boxes, tmp_path, step):
    train("diffusion", boxes, tmp_path, 1)
    progress = tmp_path / "run" / "state" / "progress.json"
    progress.write_text(json.dumps(json.loads(progress.read_text()) | {"step": step}))
    with pytest.raises(FileFormatError, match=r"state cannot be resumed \(it says step"):
        train("diffusion", boxes, tmp_path, 2, resume=True)


@pytest.mark.parametrize("name", ["progress.json", "model.safetensors", "optimizer.bin", "average_0.pt"])
def test_a_damaged_state_is_named(boxes, tmp_path, name):
    train("diffusion", boxes, tmp_path, 1)
    damaged = tmp_path / "run" / "state" / name
    for content in (b"", b"[1]", b"null", damaged.read_bytes()[:-200]):
        damaged.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"state cannot be resumed \(.+\)"):
            train("diffusion", boxes, tmp_path, 2, resume=True)


def test_damaged_lines_of_the_log_are_left_out(boxes, tmp_path):
    train("diffusion", boxes, tmp_path, 1)
    log = tmp_path / "run" / "log" / "reports.jsonl"
    log.write_bytes(log.read_bytes() + b"[1]\nnull\n\xff\n" + b"[" * 100_000 + b'\n{"step": 1, "sec')
    train("diffusion", boxes, tmp_path, 2, resume=True)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2]


class Breaking(nn.Module):
    """A stage of one number whose loss is none in some steps, and its gradient neither unless it is kept."""

    def __init__(self, broken: set[int], keeps_gradient: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.broken, self.step, self.keeps_gradient = broken, 0, keeps_gradient

    def forward(self, batch):
        loss = (self.weight - batch[0]) ** 2
        if self.step in self.broken:
            loss = loss + float("inf") if self.keeps_gradient else loss * float("nan")
        self.step += 1
        return {"total": loss}

    def groups(self):
        return [trainable(self)]

    def export(self, folder, state):
        torch.save(state, folder / "weights.pt")

    def pictures(self, batch):
        return None


class Numbers:
    def __len__(self) -> int:
        return 2

    def example(self, index: int, seed: int) -> float:
        return 0.5 * index


def train_breaking(folder: Path, steps: int, broken: set[int], keeps_gradient=False, **changes) -> Breaking:
    chosen = replace(loop(CHOSEN.diffusion.loop, steps=steps, picture_every=100), optimizer="adamw", **changes)
    stage = Breaking(broken, keeps_gradient)
    Trainer(stage, Numbers(), chosen, folder / "run", folder / "weights", make_accelerator(chosen)).run()
    return stage


def test_a_step_without_numbers_reaches_no_weights(tmp_path):
    stage = train_breaking(tmp_path, 6, {2, 3})
    assert stage.weight.isfinite() and stage.weight != 1
    assert torch.load(tmp_path / "weights" / "weights.pt")["weight"].isfinite()


def test_a_loss_that_is_no_number_reaches_no_weights_though_its_gradient_is_one(tmp_path):
    assert train_breaking(tmp_path, 3, {0, 1, 2}, keeps_gradient=True).weight == 1


def test_a_training_without_numbers_stops_and_keeps_what_was_saved(tmp_path):
    with pytest.raises(SettingsError, match="20 steps in a row, up to step 23,"):
        train_breaking(tmp_path, 100, set(range(4, 100)), save_every=4)
    assert json.loads((tmp_path / "run" / "state" / "progress.json").read_text())["step"] == 20
    assert torch.load(tmp_path / "weights" / "weights.pt")["weight"].isfinite()


def test_a_state_of_other_networks_is_refused(boxes, tmp_path):
    same = {name: getattr(CHOSEN.motion.loop, name) for name in ("optimizer", "learning_rate", "average")}
    train("diffusion", boxes, tmp_path / "a", 1, **same)
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "run").rename(tmp_path / "b" / "run")
    with pytest.raises(FileFormatError, match="cannot be resumed"):
        train("motion", boxes, tmp_path / "b", 2, resume=True)


def test_a_training_goes_on_with_its_seed_but_may_recompute_activations(boxes, tmp_path):
    train("diffusion", boxes, tmp_path, 1)
    with pytest.raises(SettingsError, match="seed was 0 and is 1"):
        train("diffusion", boxes, tmp_path, 2, resume=True, seed=1)
    assert len(train("diffusion", boxes, tmp_path, 2, resume=True, activation_checkpointing=True)) == 1


def test_examples_depend_on_their_number_alone():
    class Letters:
        def __len__(self) -> int:
            return 5

        def example(self, index: int, seed: int) -> tuple[str, int]:
            return "abcde"[index], seed

    draws = Draws(Letters(), seed=3)
    one_by_one = [draws[number] for number in range(10)]
    assert sorted(letter for letter, _ in one_by_one[:5]) == list("abcde")
    assert len({seed for _, seed in one_by_one}) == 10
    assert list(draws.ahead(range(4, 10), workers=2)) == one_by_one[4:]
    assert [Draws(Letters(), seed=4)[number] for number in range(10)] != one_by_one


def test_the_rate_warms_up_stays_and_falls():
    chosen = replace(load_training_settings("paper").motion.loop, steps=100, warm_up=10, decay_from=0.5)
    factors = [rate_factor(step, chosen) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9:51] == [1.0] * 42
    assert factors[75] == pytest.approx(0.5)
    assert factors[99] == pytest.approx(0.02)
    assert rate_factor(10**6, replace(chosen, decay_from=1.0)) == 1.0


def test_only_matrices_get_orthogonal_updates():
    network = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 3))
    chosen = load_training_settings("nano").diffusion.loop
    muon, adamw = make_optimizers([trainable(network, factor=0.1)], chosen)
    assert [tuple(p.shape) for group in muon.param_groups for p in group["params"]] == [(64, 64)]
    assert sum(p.numel() for group in adamw.param_groups for p in group["params"]) == 64 + 3 * 64 + 3
    assert muon.param_groups[0]["factor"] == 0.1


def test_the_average_takes_the_place_of_the_weights_and_gives_it_back():
    parameter = nn.Parameter(torch.zeros(2))
    average = MovingAverage([parameter], 0.5)
    with torch.no_grad():
        parameter.fill_(1)
    average.update(100)
    with average.in_place():
        assert parameter.tolist() == [0.5, 0.5]
    assert parameter.tolist() == [1, 1]


_WORKER = """
import sys
from dataclasses import replace
from pathlib import Path
from gvf_core.training.trainer import Trainer, make_accelerator
from tests.unit.test_trainer import CHOSEN, loop, motion_stage, switch_fsdp_on
data, folder, batch, kind = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
chosen = replace(loop(CHOSEN.motion.loop, steps=3, save_every=100, picture_every=2), batch=batch, optimizer="adamw")
stage, examples = motion_stage(data, folder / "cache", replace(CHOSEN, motion=replace(CHOSEN.motion, drop_path=0.0)))
accelerator = make_accelerator(chosen)
if kind == "fsdp":
    switch_fsdp_on(accelerator)
trainer = Trainer(stage, examples, chosen, folder / "run", folder / "weights", accelerator)
assert (type(next(trainer._network.parameters())).__name__ == "DTensor") == (kind == "fsdp")
for steps in (2, 3):
    trainer.settings = replace(chosen, steps=steps)
    trainer.run()
    trainer.restore()
accelerator.end_training()
"""


def switch_fsdp_on(accelerator) -> None:
    """By hand: accelerate does it on GPUs only, though everything behind it works on a CPU."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="NO_WRAP",
        cpu_ram_efficient_loading=True,
        state_dict_type="SHARDED_STATE_DICT",
    )
    PartialState._shared_state["distributed_type"] = accelerator.state.distributed_type = DistributedType.FSDP


def launch(processes: int, folder: Path, boxes: Path, batch: int, kind: str) -> None:
    """Start the worker in as many processes, as `accelerate launch` does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder.mkdir()
    started = []
    for rank in range(processes):
        own = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        if processes > 1:
            own |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        command = [sys.executable, "-c", _WORKER, str(boxes), str(folder), str(batch), kind]
        root = Path(__file__).parents[2]
        started.append(subprocess.Popen(command, env=own | {"PYTHONPATH": str(root)}, cwd=root))
    assert [process.wait(timeout=800) for process in started] == [0] * processes


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_processes_train_what_one_does(kind, boxes, tmp_path):
    launch(1, tmp_path / "one", boxes, 2, "alone")
    launch(2, tmp_path / "two", boxes, 1, kind)
    losses = [
        [
            json.loads(line)["total"]
            for line in (tmp_path / name / "run" / "log" / "reports.jsonl").read_text().splitlines()
        ]
        for name in ("one", "two")
    ]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=5e-3)
    one, two = (load_file(tmp_path / name / "weights" / "variation_vae.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-2, atol=2e-3)
