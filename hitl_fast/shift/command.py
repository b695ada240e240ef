"""``hitl-fast preindex``: a report from a model's code, its weights, and two files of samples."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hitl_fast._common.errors import InputError, InputTypeError
from hitl_fast._common.files import why_unreadable

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

PICTURES = (".png", ".svg", ".pdf")

EPILOG = """\
files:
  .npz          arrays x (samples first) and y (integer classes); --inputs and --labels give other names
  .npy          x alone; the labels come from --labels-file
  .safetensors  tensors x and y, or as named
  The shifted file may leave out y: it has the same samples in the same order (--unpaired: others, in any number).
  --labels-file gives the labels of both files, so it goes with pairs. Nothing is ever unpickled.

model:
  MODULE:NAME   NAME in MODULE (a file in this folder, or installed) is an nn.Module, or a function or class that
                makes one when called without arguments. This imports, so runs, that module: your own code.
  Weights are .safetensors, or a .pt/.pth state dict (read with weights_only=True).

example:
  hitl-fast preindex --model networks:SmallCNN --weights cnn.safetensors --clean clean.npz --shifted noisy.npz \\
      --json report.json --plot report.png

exit status: 0 done, 2 wrong usage or input, 130 interrupted
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    need = parser.add_argument_group("what to compare")
    need.add_argument("--model", required=True, metavar="MODULE:NAME", help="the model's code")
    need.add_argument(
        "--weights", type=Path, metavar="FILE", help="its state dict; default: as the code makes it"
    )
    need.add_argument(
        "--clean", type=Path, required=True, metavar="FILE", help="samples as the model knows them"
    )
    need.add_argument(
        "--shifted", type=Path, required=True, metavar="FILE", help="the same samples after the shift"
    )
    need.add_argument(
        "--inputs", default="x", metavar="NAME", help="array of samples in the files (default: x)"
    )
    need.add_argument(
        "--labels", default="y", metavar="NAME", help="array of classes in the files (default: y)"
    )
    need.add_argument(
        "--labels-file", type=Path, metavar="FILE", help=".npy of classes, where the files have none"
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--embedding", metavar="LAYER", help="layer to cluster (default: input of what made the logits)"
    )
    how.add_argument(
        "--arithmetic", choices=("corrected", "reference"), default="corrected", help="(default: corrected)"
    )
    how.add_argument("--pooling", choices=("mean", "flatten"), default="mean", help="(default: mean)")
    how.add_argument(
        "--measure", default="jensen_shannon", help="distance that is p (default: jensen_shannon)"
    )
    how.add_argument(
        "--bins", type=int, nargs="+", default=[16, 32, 64], metavar="B", help="(default: 16 32 64)"
    )
    how.add_argument(
        "--measure-bins", type=int, default=32, metavar="B", help="bins that p is taken at (default: 32)"
    )
    how.add_argument("--scale", type=float, default=0.0, metavar="S", help="the paper's s (default: 0)")
    how.add_argument("--offset", type=float, default=0.0, metavar="S", help="the paper's s_bar (default: 0)")
    how.add_argument(
        "--clean-accuracy",
        type=float,
        metavar="A",
        help="on samples not trained on: target of the effort score",
    )
    how.add_argument(
        "--effort-samples",
        type=int,
        metavar="N",
        help="most pairs of the effort score (default: 2048; 0: no score)",
    )
    how.add_argument(
        "--embedding-samples", type=int, metavar="N", help="most pairs that are clustered (default: all)"
    )
    how.add_argument(
        "--embedding-dtype", choices=("float32", "float16"), default="float32", help="(default: float32)"
    )
    how.add_argument(
        "--kmeans",
        action=argparse.BooleanOptionalAction,
        help="clusters from k-means++ as well (default: with --arithmetic reference only)",
    )
    how.add_argument(
        "--unpaired", action="store_true", help="the shifted samples are others than the clean ones"
    )
    how.add_argument(
        "--labels-for", choices=("both", "clean"), help="clean: shifted labels are unknown (default: both)"
    )
    how.add_argument("--label-budget", type=int, metavar="N", help="use N shifted labels, drawn at random")
    how.add_argument("--output", metavar="KEY", help="where the logits are in what the model returns")
    how.add_argument("--batch-size", type=int, default=64, metavar="N", help="(default: 64)")
    how.add_argument(
        "--device", metavar="DEVICE", help="for example cuda or cpu (default: a GPU if there is one)"
    )
    how.add_argument("--quiet", action="store_true", help="no progress bar")
    give = parser.add_argument_group("where to")
    give.add_argument("--json", type=Path, metavar="FILE", help="write the whole report")
    give.add_argument("--plot", type=Path, metavar="FILE", help="write a picture: .png, .svg or .pdf")


def run(arguments: argparse.Namespace) -> int:
    import numpy as np
    import torch

    from . import preindex

    if arguments.batch_size < 1:
        raise InputError(f"--batch-size must be at least 1, not {arguments.batch_size}")
    if arguments.plot is not None and arguments.plot.suffix not in PICTURES:
        raise InputError(f"--plot must end in {', '.join(PICTURES)}, not {arguments.plot.name!r}")
    for path in (arguments.json, arguments.plot):
        if path is not None and not path.absolute().parent.is_dir():
            raise FileNotFoundError(f"{path}: no such folder")
    if arguments.unpaired and arguments.labels_file is not None:
        raise InputError("--labels-file gives both files the same labels, which --unpaired contradicts")
    clean, labels = read_samples(arguments.clean, arguments)
    shifted, shifted_labels = read_samples(arguments.shifted, arguments)
    if arguments.labels_for == "clean":
        shifted_labels = None
    if len(clean) != len(shifted) and not arguments.unpaired:
        raise InputError(
            f"{arguments.clean} holds {len(clean)} samples, {arguments.shifted} {len(shifted)}: they must be the same"
        )
    if labels is None and not arguments.unpaired:
        labels = shifted_labels
    if labels is None:
        raise InputError(
            f"{arguments.clean} holds no {arguments.labels!r}: name it by --labels or give --labels-file"
        )
    if shifted_labels is None and arguments.unpaired and arguments.labels_for != "clean":
        raise InputError(
            f"{arguments.shifted} holds no {arguments.labels!r}: give --labels-for clean if it has none"
        )
    if shifted_labels is None:  # not read under --labels-for clean
        shifted_labels = np.zeros(len(shifted), np.int64) if arguments.unpaired else labels
    model = load_model(arguments.model, arguments.weights)
    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    output: Any = arguments.output
    try:
        report = preindex(
            model,
            batches(clean, labels, arguments.batch_size, str(arguments.clean)),
            batches(shifted, shifted_labels, arguments.batch_size, str(arguments.shifted)),
            embedding=arguments.embedding,
            bins=arguments.bins,
            arithmetic=arguments.arithmetic,
            pooling=arguments.pooling,
            measure=arguments.measure,
            measure_bins=arguments.measure_bins,
            scale=arguments.scale,
            offset=arguments.offset,
            clean_accuracy=arguments.clean_accuracy,
            embedding_samples=arguments.embedding_samples,
            embedding_dtype=arguments.embedding_dtype,
            kmeans=arguments.kmeans,
            **({} if arguments.effort_samples is None else {"effort_samples": arguments.effort_samples}),
            paired=not arguments.unpaired,
            labels_for=arguments.labels_for,
            label_budget=arguments.label_budget,
            output=int(output) if output is not None and output.lstrip("-").isdigit() else output,
            device=device,
            progress=not arguments.quiet,
        )
    except RuntimeError as problem:
        reason = (str(problem).strip() or type(problem).__name__).splitlines()[0]
        raise InputError(
            f"the model failed on {clean.dtype} samples of shape {clean.shape[1:]}: {reason}"
        ) from problem
    print(report)
    if arguments.json is not None:
        report.to_json(arguments.json)
        print(f"report        {arguments.json}")
    if arguments.plot is not None:
        report.plot(arguments.plot)
        print(f"picture       {arguments.plot}")
    return 0


def read_samples(path: Path, arguments: argparse.Namespace) -> tuple[np.ndarray, np.ndarray | None]:
    """Samples and, where the file or --labels-file has them, classes."""
    import numpy as np

    named = read_arrays(path, arguments.inputs)
    if arguments.inputs not in named:
        raise InputError(f"{path} holds no {arguments.inputs!r} but {', '.join(named)}: name it by --inputs")
    labels = named.get(arguments.labels)
    if arguments.labels_file is not None:
        labels = next(iter(read_arrays(arguments.labels_file, arguments.labels).values()))
    samples = named[arguments.inputs]
    if samples.ndim < 2 or len(samples) == 0:
        raise InputError(f"{path}: samples must have shape (samples, ...), not {samples.shape}")
    if labels is not None:
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise InputError(
                f"{path}: classes must be (samples,) integers, not {labels.dtype} of shape {labels.shape}"
            )
        if len(labels) != len(samples):
            raise InputError(f"{path}: {len(samples)} samples but {len(labels)} classes")
        labels = labels.astype(np.int64)
    return samples, labels


def read_arrays(path: Path, single: str) -> dict[str, np.ndarray]:
    """The arrays of an .npz, .npy or .safetensors file by name; ``single`` names that of an .npy."""
    import numpy as np

    ending = path.suffix.lower()
    if ending == ".safetensors":
        from safetensors.numpy import load_file

        try:
            return dict(load_file(path))
        except OSError:
            raise
        except Exception as problem:
            raise InputError(f"{path} is not a safetensors file: {problem}") from None
    if ending not in (".npz", ".npy"):
        raise InputError(
            f"{path}: expected .npz, .npy or .safetensors, not {ending or 'a file without ending'}"
        )
    try:
        with path.open("rb") as file:
            held = np.load(file, allow_pickle=False)
            return {single: held} if ending == ".npy" else {name: held[name] for name in held.files}
    except OSError:
        raise
    except Exception as problem:
        raise InputError(f"{path} is not a {ending} file of numbers: {why_unreadable(problem)}") from None


def batches(samples: np.ndarray, labels: np.ndarray, size: int, name: str) -> list[tuple[Tensor, Tensor]]:
    """Tensors (samples, classes), float64 as float32, in batches that share the arrays' memory."""
    import numpy as np
    import torch

    if samples.dtype == np.float64:
        samples = samples.astype(np.float32)
    try:
        x, y = torch.from_numpy(np.ascontiguousarray(samples)), torch.from_numpy(labels)
    except TypeError as problem:
        raise InputError(f"{name}: {problem}") from None
    return list(zip(torch.split(x, size), torch.split(y, size), strict=True))


def load_model(place: str, weights: Path | None) -> nn.Module:
    """The module that MODULE:NAME is or makes, with its weights."""
    from torch import nn

    home, _, name = place.rpartition(":")
    root = os.getcwd()
    if home.endswith(".py"):
        home = os.path.relpath(home.removesuffix(".py"))
        if home.startswith(os.pardir):
            root, home = os.path.split(os.path.abspath(home))
        home = home.replace(os.sep, ".")
    if not home or not name:
        raise InputError(f"--model must be MODULE:NAME, such as networks:SmallCNN, not {place!r}")
    if root not in sys.path:
        sys.path.insert(0, root)
    try:
        made: Any = importlib.import_module(home)
    except ModuleNotFoundError as problem:
        raise InputError(f"--model {place}: {problem}") from None
    for part in name.split("."):
        if not hasattr(made, part):
            raise InputError(f"{home} has no {part!r}")
        made = getattr(made, part)
    if not isinstance(made, nn.Module):
        _refuse_arguments(made, place)
        made = made()
    if not isinstance(made, nn.Module):
        raise InputTypeError(f"{place} gives a {type(made).__name__}, not a torch.nn.Module")
    if weights is not None:
        try:
            made.load_state_dict(plain_weights(read_weights(weights), weights))
        except RuntimeError as problem:
            raise InputError(f"{weights} does not fit {place}: {' '.join(str(problem).split())}") from None
    return made


def _refuse_arguments(made: Any, place: str) -> None:
    """Refuse what cannot be called without arguments; what it raises when it is called is its own error."""
    try:
        inspect.signature(made).bind()
    except TypeError as problem:
        raise InputTypeError(
            f"--model {place} must be a module, or make one without arguments: {problem}"
        ) from None
    except ValueError:  # a builtin that has no signature
        pass


def plain_weights(held: dict[str, Any], path: Path) -> dict[str, Tensor]:
    """The state dict in a checkpoint, without the prefixes that data-parallel and compiled modules add."""
    from torch import Tensor

    nested = [key for key in ("state_dict", "model_state_dict", "model") if isinstance(held.get(key), dict)]
    if nested and not any(isinstance(value, Tensor) for value in held.values()):
        held = held[nested[0]]
    if any(isinstance(value, dict) for value in held.values()):
        keys = [str(key) for key, value in held.items() if isinstance(value, dict)]
        raise InputError(f"{path} is not a state dict: it holds dictionaries at {', '.join(keys)}")
    for prefix in ("_orig_mod.", "module.", "_orig_mod."):  # of a compiled module, and of a data-parallel one
        if held and all(str(key).startswith(prefix) for key in held):
            held = {key.removeprefix(prefix): value for key, value in held.items()}
    return held


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict, from formats that cannot run code."""
    import torch

    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        if path.suffix.lower() not in (".pt", ".pth"):
            raise InputError("expected .safetensors, .pt or .pth")
        held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as problem:
        raise InputError(f"{path} is not a file of weights: {' '.join(str(problem).split())[:300]}") from None
    if not isinstance(held, dict):
        raise InputError(f"{path} holds a {type(held).__name__}, not a state dict")
    return held
