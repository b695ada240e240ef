"""``hitl-fast preindex`` on files, good and bad."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors
from torch import nn

import hitl_fast as hf
from hitl_fast import cli

CODE = """
from torch import nn

def make():
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))

MODEL = make()
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "tiny_networks", raising=False)
    (tmp_path / "tiny_networks.py").write_text(CODE)
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((40, 6)).astype(np.float32), np.arange(40) % 3
    np.savez(tmp_path / "clean.npz", x=x, y=y)
    np.savez(tmp_path / "shifted.npz", x=x + 0.5 * generator.standard_normal(x.shape).astype(np.float32), y=y)
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    save_tensors(model.state_dict(), tmp_path / "weights.safetensors")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    return tmp_path


def command(*more: str, **changed: str) -> int:
    options = {
        "model": "tiny_networks:make", "weights": "weights.safetensors", "clean": "clean.npz", "shifted": "shifted.npz",
    }  # fmt: skip
    options |= changed
    arguments = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)]
    return cli.main(["preindex", "--device", "cpu", *arguments, *more])


def test_prints_and_writes_a_report(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--json", "report.json", "--plot", "report.png", "--batch-size", "7") == 0
    out = capsys.readouterr().out
    report = hf.PreIndexReport.from_json("report.json")
    assert str(report) in out
    assert report.samples == 40
    assert (folder / "report.png").read_bytes()[:4] == b"\x89PNG"
    x, y = (torch.from_numpy(np.load("clean.npz")[name]) for name in "xy")
    shifted = torch.from_numpy(np.load("shifted.npz")["x"])
    model = nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 3))
    model.load_state_dict(torch.load("weights.pt", weights_only=True))
    expected = hf.preindex(model, [(x, y)], [(shifted, y)])
    assert report.distances[32] == pytest.approx(expected.distances[32], rel=1e-3)


def test_what_takes_time_and_memory_can_be_chosen(folder: Path) -> None:
    options = [
        "--effort-samples",
        "0",
        "--embedding-samples",
        "20",
        "--embedding-dtype",
        "float16",
        "--kmeans",
    ]
    assert command("--json", "few.json", *options) == 0
    report = hf.PreIndexReport.from_json("few.json")
    assert report.effort_score is None
    assert report.clusters["shifted_kmeans++"] is not None
    assert report.clusters["shifted"].standard_error is not None


def test_every_kind_of_file_gives_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clean, shifted = (dict(np.load(f"{name}.npz")) for name in ("clean", "shifted"))
    save_file({"images": clean["x"], "kinds": clean["y"]}, "clean.safetensors")
    save_file({"images": shifted["x"]}, "shifted.safetensors")
    np.save("clean.npy", clean["x"].astype(np.float64))
    np.save("shifted.npy", shifted["x"])
    np.save("kinds.npy", clean["y"].astype(np.uint8))
    runs: list[tuple[tuple[str, ...], dict[str, str]]] = [
        ((), {}),
        ((), {"weights": "weights.pt"}),
        (
            ("--inputs", "images", "--labels", "kinds"),
            {"clean": "clean.safetensors", "shifted": "shifted.safetensors"},
        ),
        (("--labels-file", "kinds.npy"), {"clean": "clean.npy", "shifted": "shifted.npy"}),
    ]
    for more, changed in runs:
        assert command(*more, **changed) == 0
    told = [text.splitlines()[0] for text in capsys.readouterr().out.split("PreIndex ") if text]
    assert len(told) == 4
    assert len(set(told)) == 1


def test_a_model_may_be_a_module_already(folder: Path) -> None:
    assert command(model="tiny_networks:MODEL") == 0


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize(
    ("more", "changed", "message"),
    [
        ((), {"clean": "none.npz"}, "No such file"),
        ((), {"clean": "clean.csv"}, "expected .npz, .npy or .safetensors, not .csv"),
        ((), {"clean": "harmful.npy"}, "harmful.npy is not a .npy file of numbers"),
        ((), {"clean": "broken.npz"}, "broken.npz is not a .npz file of numbers"),
        ((), {"clean": "broken.safetensors"}, "broken.safetensors is not a safetensors file"),
        (("--inputs", "images"), {}, "clean.npz holds no 'images' but x, y: name it by --inputs"),
        (("--labels", "kinds"), {}, "holds no 'kinds': name it by --labels or give --labels-file"),
        ((), {"clean": "short.npz"}, "short.npz holds 20 samples, shifted.npz 40: they must be the same"),
        ((), {"clean": "flat.npz"}, "samples must have shape (samples, ...), not (40,)"),
        ((), {"clean": "uneven.npz"}, "40 samples but 39 classes"),
        ((), {"clean": "real.npz"}, "classes must be (samples,) integers, not float64"),
        ((), {"model": "tiny_networks"}, "--model must be MODULE:NAME"),
        ((), {"model": "no_such_networks:make"}, "No module named 'no_such_networks'"),
        ((), {"model": "tiny_networks:made"}, "tiny_networks has no 'made'"),
        ((), {"model": "tiny_networks:number"}, "not a callable"),
        ((), {"model": "builtins:list"}, "gives a list, not a torch.nn.Module"),
        ((), {"weights": "harmful.pt"}, "harmful.pt is not a file of weights"),
        ((), {"weights": "other.pt"}, "other.pt does not fit tiny_networks:make"),
        ((), {"weights": "list.pt"}, "list.pt holds a list, not a state dict"),
        ((), {"weights": "weights.bin"}, "expected .safetensors, .pt or .pth"),
        (("--embedding", "fc"), {}, "the model has no layer 'fc'"),
        (("--measure", "js"), {}, "measure must be one of"),
        (("--bins", "64", "32"), {}, "bins must rise"),
        (("--batch-size", "0"), {}, "--batch-size must be at least 1"),
        (("--json", "none/report.json"), {}, "no such folder"),
        (("--plot", "report.bmp"), {}, "--plot must end in .png, .svg, .pdf, not 'report.bmp'"),
        (("--device", "nonsense"), {}, "device must be, for example, 'cpu'"),
        (
            (),
            {"clean": "wide.npz", "shifted": "wide.npz"},
            "the model failed on float32 samples of shape (7,): ",
        ),
    ],
)
def test_wrong_input_is_one_line(
    more: tuple[str, ...],
    changed: dict[str, str],
    message: str,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y = np.zeros((40, 6), np.float32), np.arange(40) % 3
    np.save("harmful.npy", np.array([Harmful()]), allow_pickle=True)
    Path("harmful.pt").write_bytes(pickle.dumps(Harmful()))
    Path("broken.npz").write_bytes(Path("clean.npz").read_bytes()[:200])
    Path("broken.safetensors").write_bytes(b"not one")
    np.savez("short.npz", x=x[:20], y=y[:20])
    np.savez("wide.npz", x=np.zeros((40, 7), np.float32), y=y)
    np.savez("flat.npz", x=x[:, 0], y=y)
    np.savez("uneven.npz", x=x, y=y[:39])
    np.savez("real.npz", x=x, y=y.astype(float))
    torch.save({"0.weight": torch.zeros(2)}, "other.pt")
    torch.save([1], "list.pt")
    Path("weights.bin").write_bytes(b"")
    assert command(*more, "--batch-size", "40", *more, **changed) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert not Path("harmed").exists()


def test_unpaired_and_unlabelled_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shifted = dict(np.load("shifted.npz"))
    np.savez("fewer.npz", x=shifted["x"][:25], y=shifted["y"][:25])
    np.savez("bare.npz", x=shifted["x"][:25])
    assert command("--unpaired", "--json", "report.json", shifted="fewer.npz") == 0
    report = hf.PreIndexReport.from_json("report.json")
    assert (report.paired, report.samples, report.clean_samples, report.index) == (False, 25, 40, None)
    assert command("--unpaired", "--labels-for", "clean", "--json", "report.json", shifted="bare.npz") == 0
    assert hf.PreIndexReport.from_json("report.json").probe_error is None
    assert command("--label-budget", "20", "--json", "report.json") == 0
    assert hf.PreIndexReport.from_json("report.json").intervals
    capsys.readouterr()
    assert command("--unpaired", shifted="bare.npz") == 2
    assert "--labels-for clean" in capsys.readouterr().err


@pytest.mark.parametrize(
    "place", ["nets/tiny_networks.py:make", "./nets/tiny_networks.py:MODEL", "nets.tiny_networks:make"]
)
def test_a_model_by_its_file(place: str, folder: Path) -> None:
    (folder / "nets").mkdir()
    (folder / "tiny_networks.py").rename(folder / "nets" / "tiny_networks.py")
    assert command(model=place) == 0


def test_a_model_by_a_file_elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "data").mkdir()
    (folder / "elsewhere_networks.py").write_text(CODE)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry != str(folder)])
    monkeypatch.chdir(folder / "data")
    here = {name: f"../{name}.npz" for name in ("clean", "shifted")}
    assert command(model="../elsewhere_networks.py:make", weights="../weights.pt", **here) == 0
    assert command(model=f"{folder}/elsewhere_networks.py:make", weights="../weights.pt", **here) == 0


def test_the_error_of_a_factory_is_its_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken_networks.py").write_text(
        "def make():\n    return len(3)\n\ndef sized(width):\n    return None\n"
    )
    with pytest.raises(TypeError, match="object of type 'int' has no len"):
        command(model="broken_networks:make")
    assert command(model="broken_networks:sized") != 0
    said = capsys.readouterr().err
    assert "broken_networks:sized" in said
    assert "'width'" in said


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "module._orig_mod."])
@pytest.mark.parametrize("nested", [None, "state_dict", "model_state_dict", "model"])
def test_checkpoints_as_they_are_saved(nested: str | None, prefix: str, folder: Path) -> None:
    held: Any = {prefix + name: value for name, value in torch.load("weights.pt", weights_only=True).items()}
    torch.save(held if nested is None else {"epoch": 3, nested: held}, folder / "saved.pt")
    assert command(weights="saved.pt") == 0


def test_a_checkpoint_without_a_model_names_its_keys(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"encoder": torch.load("weights.pt", weights_only=True), "step": 1}, folder / "saved.pt")
    assert command(weights="saved.pt") != 0
    assert "encoder" in capsys.readouterr().err
