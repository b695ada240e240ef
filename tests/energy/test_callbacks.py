"""Windows per epoch and validation, in real trainings of a tiny model."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from energy_fakes import Tree

from hitl_fast.energy import EnergyMeter
from hitl_fast.integrations import lightning_callback, trainer_callback

# What these frameworks warn of is their own affair.
pytestmark = pytest.mark.filterwarnings("ignore")


def test_lightning(tree: Tree, tmp_path: Path) -> None:
    import pytorch_lightning as lightning
    import torch
    from torch.utils.data import DataLoader, TensorDataset

    class Model(lightning.LightningModule):  # type: ignore[name-defined,misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
            return self.layer(batch[0]).square().mean()

        def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
            self.layer(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    tree.socket(0)
    callback = lightning_callback(rapl_root=tree.root, gpus="none")
    data = DataLoader(TensorDataset(torch.ones(4, 2)), batch_size=2)
    trainer = lightning.Trainer(
        max_epochs=2, callbacks=[callback], accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path, num_sanity_val_steps=1,
    )  # fmt: skip
    trainer.fit(Model(), data, data)
    assert [w.name for w in callback.meter.windows] == [
        "sanity check", "epoch 0", "validation 0", "epoch 1", "validation 1",
    ]  # fmt: skip
    assert callback.meter.domains["package-0"].status == "measured"
    with pytest.raises(RuntimeError, match="not running"):
        callback.meter.window("w")
    names = len(callback.meter.windows)
    trainer.validate(Model(), data)
    assert [w.name for w in callback.meter.windows] == ["validation 2"]
    assert names == 5


def test_lightning_closes_what_an_exception_leaves_open(tree: Tree) -> None:
    callback = lightning_callback(rapl_root=tree.root, gpus="none")
    trainer = SimpleNamespace(current_epoch=0, sanity_checking=False)
    callback.on_fit_start(trainer, None)
    callback.on_train_epoch_start(trainer, None)
    callback.on_validation_start(trainer, None)
    callback.on_exception(trainer, None, KeyError("x"))
    callback.teardown(trainer, None, "fit")
    assert [(w.name, w.error) for w in callback.meter.windows] == [
        ("epoch 0", "KeyError"),
        ("validation 0", "KeyError"),
    ]


def test_transformers(tree: Tree, tmp_path: Path) -> None:
    import torch
    import transformers

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
            out = self.layer(x)
            return {"loss": (out - labels).square().mean(), "logits": out}

    tree.socket(0)
    data = [{"x": torch.ones(2), "labels": torch.ones(1)} for _ in range(4)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, eval_strategy="epoch", save_strategy="no", report_to=[],
        use_cpu=True, disable_tqdm=True, per_device_train_batch_size=2, logging_strategy="no",
    )  # fmt: skip
    with EnergyMeter(rapl_root=tree.root, gpus="none") as meter:
        callback = trainer_callback(meter)
        trainer = transformers.Trainer(
            Model(), arguments, train_dataset=data, eval_dataset=data, callbacks=[callback]
        )
        trainer.train()
        assert [w.name for w in meter.windows] == ["epoch 0", "validation 0", "epoch 1", "validation 1"]
        trainer.evaluate()
        assert meter.windows[-1].name == "validation 2"
        with meter.window("mine"):  # the meter is ours and still runs
            pass
    assert callback.meter is meter
    own = trainer_callback(rapl_root=tree.root, gpus="none")
    control = SimpleNamespace(should_evaluate=True)
    state = SimpleNamespace(epoch=0.0)
    own.on_train_begin(None, state, control)
    own.on_step_end(None, state, control)
    own.on_prediction_step(None, state, control)
    own.on_evaluate(None, state, control)
    own.on_train_end(None, state, control)
    assert [w.name for w in own.meter.windows] == ["validation 0"]


def test_energy_of_each_step_of_a_trainer(tree: Tree) -> None:
    tree.socket(0)
    callback = trainer_callback(rapl_root=tree.root, gpus="none", per_step=True)
    state, control, logs = (
        SimpleNamespace(epoch=0.0, log_history=[{}]),
        SimpleNamespace(should_evaluate=False),
        {},
    )
    callback.on_train_begin(None, state, control)
    for _ in range(3):
        callback.on_step_begin(None, state, control)
        callback.on_step_end(None, state, control)
    callback.on_log(None, state, control, logs=logs)
    assert [step.name for step in callback.steps] == ["step"] * 3
    assert set(logs) == {"seconds_per_step", "joules_per_step"} == set(state.log_history[0])
    assert logs["seconds_per_step"] == sum(step.seconds for step in callback.steps) / 3
    callback.on_log(None, state, control, logs=(later := {}))
    assert later == {}  # no step since
    callback.on_train_end(None, state, control)


def test_energy_of_each_batch_of_lightning() -> None:
    callback = lightning_callback(rapl_root="/nonexistent", gpus="none", per_step=True)
    logged: dict[str, float] = {}
    module = SimpleNamespace(log=lambda name, value, batch_size: logged.update({name: value}))
    trainer = SimpleNamespace(current_epoch=0, sanity_checking=False)
    callback.on_fit_start(trainer, module)
    callback.on_train_batch_start(trainer, module, None, 0)
    callback.on_train_batch_end(trainer, module, None, None, 0)
    callback.teardown(trainer, module, "fit")
    assert list(logged) == ["seconds_per_step"]  # no sensor: no joules, never 0
    assert logged["seconds_per_step"] == callback.steps[0].seconds


def test_meter_or_arguments(tree: Tree) -> None:
    with pytest.raises(ValueError, match=r"give a meter or its arguments \(rate_hz\), not both"):
        trainer_callback(EnergyMeter(), rate_hz=3)


@pytest.mark.parametrize(
    ("make", "hidden", "said"),
    [
        (lightning_callback, ("lightning", "pytorch_lightning"), "Lightning is not installed"),
        (trainer_callback, ("transformers",), "transformers is not installed"),
    ],
)
def test_framework_that_is_not_installed(
    make: object, hidden: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Hidden:
        def find_spec(self, name: str, path: object = None, target: object = None) -> None:
            if name.partition(".")[0] in hidden:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

    for name in [name for name in sys.modules if name.partition(".")[0] in hidden]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    with pytest.raises(ImportError, match=said):
        make()  # type: ignore[operator]


def test_broken_framework_says_itself_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "transformers.py").write_text("import a_module_that_is_missing\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_missing"):
        trainer_callback()
