"""Data sets that the collection page shows: their items, and what is refused."""

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from hitl_fast._common.errors import InputError
from hitl_fast.ratings.collect.items import Records, png
from hitl_fast.ratings.collect.opening import open_items


def decoded(content: bytes) -> np.ndarray:
    """Pixels of an 8-bit PNG without filters."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    place, data, header = 8, b"", b""
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        name, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        assert struct.unpack(">I", content[place + 8 + length : place + 12 + length])[0] == zlib.crc32(
            name + body
        )
        header, data = (body, data) if name == b"IHDR" else (header, data + body if name == b"IDAT" else data)
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", header[:10])
    assert depth == 8
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, -1)
    assert not rows[:, 0].any()
    pixels = rows[:, 1:]
    return pixels.reshape(height, width, 3) if colour == 2 else pixels


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 4, 3), (2, 9, 1)])
def test_png_holds_the_pixels(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(decoded(png(image)), image.reshape(shape[:2]) if shape[-1] == 1 else image)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 5, 6), "uint8"), ((4, 5, 6, 3), "uint8"), ((4, 3, 5, 6), "float32"), ((4, 1, 5, 6), "float64")],
)
def test_arrays_become_images(shape: tuple[int, ...], dtype: str, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape).astype(dtype)
    if dtype != "uint8":
        images /= 255
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(4))
    items = open_items(tmp_path / "a.npz")
    assert (items.kind, len(items), items.content(2)) == ("image", 4, {"label": "2"})
    content, kind = items.image(2)
    expected = np.round(images[2] * (1 if dtype == "uint8" else 255)).astype(np.uint8)
    if shape[1] in (1, 3):
        expected = expected.transpose(1, 2, 0)
    assert kind == "image/png"
    np.testing.assert_array_equal(decoded(content), expected[..., 0] if expected.shape[-1] == 1 else expected)
    np.save(tmp_path / "a.npy", images)
    assert open_items(tmp_path / "a.npy").image(2) == (content, kind)


def test_folder_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.JPG", "0.gif", ".hidden.png", "notes.txt", "x.svg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    items = open_items(tmp_path)
    assert [items.image(i)[0].decode() for i in range(len(items))] == ["0.gif", "a/1.JPG", "b/2.png"]
    assert items.content(1) == {"name": "1.JPG", "label": "a"}
    assert items.image(1)[1] == "image/jpeg"


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    data = tmp_path / "data"
    data.mkdir()
    (data / "a.png").write_bytes(b"a")
    (data / "b.png").symlink_to(data / "a.png")
    items = open_items(data)
    assert items.image(1)[0] == b"a"
    (data / "a.png").unlink()
    (data / "a.png").symlink_to(secret)  # exchanged after the folder was listed
    for item in (0, 1):
        with pytest.raises(InputError, match="outside"):
            items.image(item)
    with pytest.raises(InputError, match=r"a\.png"):
        open_items(data)


def test_texts_and_rows(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text("first\n\nthird — ü\n")
    texts = open_items(tmp_path / "t.txt")
    assert [texts.content(i)["text"] for i in range(len(texts))] == ["first", "", "third — ü"]
    records = [{"id": 1, "text": "good", "label": "+"}, {"id": 2, "text": "bad", "label": "-"}]
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, records)))
    lines = open_items(tmp_path / "t.jsonl")
    assert (lines.kind, lines.content(1)) == ("text", {"label": "-", "text": "bad"})
    assert open_items(tmp_path / "t.jsonl", "label").content(0)["text"] == "+"
    (tmp_path / "r.csv").write_text('age,city,label\n31,"Ulm,\nold",yes\n40,Bonn,no\n')
    rows = open_items(tmp_path / "r.csv")
    assert (rows.kind, len(rows)) == ("row", 2)
    assert rows.content(0) == {"label": "yes", "row": [["age", "31"], ["city", "Ulm,\nold"]]}
    assert Records("list", records, None).content(0) == {"label": "+", "text": "good"}


def test_fingerprints_tell_data_sets_apart(tmp_path: Path) -> None:
    found = set()
    for name, content in (("a.txt", "x\ny\n"), ("b.txt", "x\nz\n"), ("c.csv", "a\n1\n"), ("d.csv", "a\n2\n")):
        (tmp_path / name).write_text(content)
        found.add(open_items(tmp_path / name).fingerprint())
    for i in range(2):
        np.save(tmp_path / "e.npy", np.full((2, 3, 3), i, np.uint8))
        found.add(open_items(tmp_path / "e.npy").fingerprint())
    assert len(found) == 6
    (tmp_path / "copy.txt").write_text("x\ny\n")
    assert open_items(tmp_path / "copy.txt").fingerprint() in found


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("empty.txt", b"", "empty"),
        ("a.jsonl", b"[1]\n", "line 1"),
        ("a.jsonl", b"{\n", "line 1"),
        ("a.csv", b"a,a\n1,2\n", "line 1"),
        ("a.csv", b"a,b\n1\n", "line 2"),
        ("a.csv", b"a,b\n", "no rows"),
        ("a.csv", b"a,b\n\xff,1\n", "readable"),
        ("a.npz", b"PK\x03\x04damaged", "a.npz"),
        ("a.npy", b"\x93NUMPY", "a.npy"),
        ("a.npy", b"garbage", r"a\.npy is no .*: it holds no arrays of numbers"),
        ("a.npz", b"\x80\x04garbage", r"a\.npz is no .*: it holds no arrays of numbers"),
        ("a.parquet", b"PAR1", "expected"),
    ],
)
def test_bad_files_are_refused(name: str, content: bytes, named: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=named) as refused:
        open_items(tmp_path / name)
    assert "pickle" not in str(refused.value)


def test_no_path_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(png(np.zeros((2, 2), np.uint8)))
    monkeypatch.chdir(tmp_path)
    assert len(open_items(".")) == 1
    for empty in ("", "  "):
        with pytest.raises(InputError, match="data is an empty path"):
            open_items(empty)
    with pytest.raises(TypeError, match="data must be a path or a Hugging Face Dataset, not list"):
        open_items([1])


def test_bad_arrays_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images"):
        open_items(tmp_path)
    for arrays, named in (
        ({"images": np.zeros((3, 4))}, "shape"),
        ({"images": np.zeros((3, 4, 4, 7))}, "channels"),
        ({"images": np.zeros((3, 4, 4)), "labels": np.zeros(2)}, "labels"),
        ({"other": np.zeros(3)}, "other"),
    ):
        np.savez(tmp_path / "a.npz", **arrays)
        with pytest.raises(InputError, match=named):
            open_items(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=np.full((2, 2, 2), np.nan))
    with pytest.raises(InputError, match="item 1"):
        open_items(tmp_path / "a.npz").image(1)
    np.save(tmp_path / "o.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(InputError, match=r"o\.npy is no .*Python objects"):
        open_items(tmp_path / "o.npy")
    with pytest.raises(FileNotFoundError):
        open_items(tmp_path / "absent")
    (tmp_path / "t.txt").write_text("a\n")
    with pytest.raises(InputError, match="no image"):
        open_items(tmp_path / "t.txt").image(0)
    with pytest.raises(InputError, match="'words'"):
        Records("list", [{"text": "a"}], "words")
    (tmp_path / "bad.jsonl").write_bytes(b'{"text": "a"}\n\xff\n')
    with pytest.raises(InputError, match="line 2"):
        open_items(tmp_path / "bad.jsonl").content(1)


@pytest.mark.jit
def test_datasets_in_memory_and_saved_to_disk(tmp_path: Path) -> None:
    import datasets

    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), dtype=np.uint8)
    encoded = [png(image) for image in pixels]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = {"image": [{"bytes": one, "path": None} for one in encoded], "label": [0, 1, 1, 0]}
    data = datasets.Dataset.from_dict(rows, features)
    data.save_to_disk(tmp_path / "images")
    held = [open_items(data), open_items(tmp_path / "images")]
    for items in held:
        assert (items.kind, len(items), items.content(2)) == ("image", 4, {"label": "dog"})
        assert items.image(3) == (encoded[3], "image/png")
    assert (
        held[0].fingerprint() == held[1].fingerprint() != open_items(data.select([1, 0, 2, 3])).fingerprint()
    )

    texts = datasets.Dataset.from_dict(
        {"text": ["a", "b"], "label": [1, 0]},
        datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        ),
    )
    texts.save_to_disk(tmp_path / "texts")
    for items in (open_items(texts), open_items(tmp_path / "texts")):
        assert (items.kind, items.content(0)) == ("text", {"label": "yes", "text": "a"})
    assert open_items(texts, "label").content(1)["text"] == "no"

    classes = {
        n: datasets.ClassLabel(names=[f"{n}{i}" for i in range(3)]) for n in ("label", "topic", "tone")
    }
    several = datasets.Dataset.from_dict(
        {"text": ["a", "b"], "label": [1, 0], "topic": [2, None], "tone": [0, -1]},
        datasets.Features({"text": datasets.Value("string"), **classes}),
    )
    for field, expected in (
        ("topic", ["topic2", "None"]),
        ("tone", ["tone0", "None"]),
        ("label", ["label1", "label0"]),
    ):
        items = open_items(several, field)
        assert [items.content(i)["text"] for i in range(2)] == expected
    assert open_items(several).content(0) == {"label": "label1", "text": "a"}
    rows_alone = open_items(several.remove_columns("text")).content(0)
    assert rows_alone == {"label": "label1", "row": [["topic", "topic2"], ["tone", "tone0"]]}


@pytest.mark.jit
def test_datasets_that_cannot_be_shown(tmp_path: Path) -> None:
    import datasets

    texts = datasets.Dataset.from_dict({"text": ["a", "b"]})
    datasets.DatasetDict({"train": texts}).save_to_disk(tmp_path / "both")
    with pytest.raises(InputError, match=r"several splits.*train"):
        open_items(tmp_path / "both")
    splits = datasets.DatasetDict({"train": texts, "test": texts})
    with pytest.raises(InputError, match=r"DatasetDict of the splits train, test: .*data\['train'\]"):
        open_items(splits)
    with pytest.raises(InputError, match="of the splits .none"):
        open_items(datasets.DatasetDict())
    for name in ("train", "other"):
        (tmp_path / "empty" / name).mkdir(parents=True)
    (tmp_path / "empty" / "dataset_dict.json").write_text('{"splits": []}')
    with pytest.raises(InputError, match="empty is no whole saved DatasetDict: the folders of its splits"):
        open_items(tmp_path / "empty")
    with pytest.raises(InputError, match="Dataset has no rows"):
        open_items(texts.select([]))
    with pytest.raises(InputError, match="Dataset is streamed"):
        open_items(texts.to_iterable_dataset())
    with pytest.raises(InputError, match="'body'.*text"):
        open_items(texts, "body")
    texts.save_to_disk(tmp_path / "damaged")
    next((tmp_path / "damaged").glob("*.arrow")).write_bytes(b"no arrow")
    with pytest.raises(InputError, match="no whole saved Dataset"):
        open_items(tmp_path / "damaged")
    for name, content, why in (
        ("state.json", "{}", "'_data_files' is missing in it"), ("state.json", "[]", "list"),
        ("dataset_info.json", "not JSON", "Expecting value"),
    ):  # fmt: skip
        texts.save_to_disk(tmp_path / "half")
        (tmp_path / "half" / name).write_text(content)
        with pytest.raises(InputError, match=f"half is no whole saved Dataset: .*{why}"):
            open_items(tmp_path / "half")
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(np.zeros((2, 2), np.uint8)))
    rows = {"image": [{"bytes": None, "path": str(secret)}, {"bytes": b"text", "path": None}]}
    linked = datasets.Dataset.from_dict(rows, datasets.Features({"image": datasets.Image()}))
    assert open_items(linked).image(0)[1] == "image/png"
    with pytest.raises(InputError, match="item 1 of Dataset: expected PNG"):
        open_items(linked).image(1)
    from hitl_fast.ratings.collect.hub_dataset import from_dataset

    with pytest.raises(InputError, match="item 0 of saved has no image in it"):
        from_dataset(linked, "saved", None, on_disk=True).image(0)
