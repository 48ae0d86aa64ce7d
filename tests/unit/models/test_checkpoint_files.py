"""Checkpoints as trainers write them, and as attackers would: the tensors are read, and nothing is run."""

from __future__ import annotations

import argparse
import collections
import enum
import pathlib
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgefsa.errors import CheckpointError
from edgefsa.models import FrequencySelfAttention, load_checkpoint
from edgefsa.models.checkpoint_file import StoredTensor, open_checkpoint
from tests.unit.models import pickles
from tests.unit.models.pickles import Named, save

State = dict[str, Tensor]


def layer() -> FrequencySelfAttention:
    return FrequencySelfAttention(16)


def weights(seed: int = 7) -> State:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.rand(value.shape, generator=generator) for key, value in layer().state_dict().items()}


def loads(path: Path, expected: State, **options: Any) -> Any:
    model = layer()
    loaded = load_checkpoint(model, path, **options)
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    return loaded


def refused(path: Path, **options: Any) -> str:
    model = layer()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(model, path, **options)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert "\n" not in str(caught.value) and path.name in str(caught.value)
    return str(caught.value)


class Phase(enum.Enum):
    TRAIN = 1


def beside() -> dict[str, Any]:
    """What trainers save beside the weights."""
    counter = collections.Counter("aab")
    default: collections.defaultdict[str, list[int]] = collections.defaultdict(list, {"a": [1]})
    return {
        "epoch": np.int64(3),
        "best": np.float32(0.5),
        "history": np.linspace(0, 1, 7),
        "rng": np.random.get_state(),
        "args": argparse.Namespace(lr=1e-3, out=pathlib.PurePosixPath("runs"), phase=Phase.TRAIN),
        "counts": [counter, default, {1, 2}, frozenset((3,)), {(1, 2): 3}],
        "shape": [torch.Size([1, 2]), torch.float16, torch.device("cuda:0"), slice(1, 2), 1j, bytearray(b"x")],
        "message_hub": {"log_scalars": {"train/loss": pickles.history_buffer()}},
        "optimizer": {"state": {0: {"exp_avg": torch.rand(5), "step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1}]},
        "rng_state": torch.get_rng_state(),
        "meta": Named("somewhere.else_", "Config", (1,), {"loss": Named("somewhere.else_", "Loss")}),
    }


@pytest.mark.parametrize("legacy", [False, True])
def test_what_trainers_save_beside_the_weights(legacy: bool, tmp_path: Path) -> None:
    path = save({**beside(), "model_state_dict": weights()}, tmp_path / "net.pth.tar", legacy=legacy)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    loaded = loads(path, weights())
    assert loaded.key == "model_state_dict" and not loaded.others


@pytest.mark.parametrize(
    "key", ["state_dict", "model_state_dict", "state_dict_ema", "ema", "ema.module", "model_ema", "net", "params"]
)
def test_weights_under_every_key(key: str, tmp_path: Path) -> None:
    content: Any = weights()
    for part in reversed(key.split(".")):
        content = {part: content, "epoch": 3}
    assert loads(save(content, tmp_path / "net.pt"), weights()).key == key


@pytest.mark.parametrize(
    "prefix",
    [
        "_orig_mod.",
        "module.",
        "module._orig_mod.",
        "_orig_mod.module.",
        "model.",
        "net.",
        "network.",
        "model._orig_mod.",
    ],
)
def test_prefixes_come_off_repeatedly(prefix: str, tmp_path: Path) -> None:
    state = {prefix + key: value for key, value in weights().items()}
    # Lightning has losses and metrics beside the network, torch's moving average a counter.
    state |= {"criterion.weight": torch.rand(3), "n_averaged": torch.tensor(3)}
    loaded = loads(save({"state_dict": state}, tmp_path / "net.ckpt"), weights())
    assert loaded.beside == ("criterion.weight", "n_averaged")
    assert "criterion.weight" in loaded.notes()[0]
    foreign = f"{prefix}surplus.weight"
    state[foreign] = torch.rand(3)
    assert "1 left over (surplus.weight)" in refused(save({"state_dict": state}, tmp_path / "more.ckpt"))


def test_torchs_own_moving_average_and_compiled_modules(tmp_path: Path) -> None:
    model = layer()
    model.load_state_dict(weights())
    compiled = torch.compile(model)
    assert all(key.startswith("_orig_mod.") for key in compiled.state_dict())
    loads(save(compiled.state_dict(), tmp_path / "compiled.pth"), weights())
    loads(save(AveragedModel(model).state_dict(), tmp_path / "average.pth"), weights())


@pytest.mark.parametrize("first", ["state_dict", "state_dict_ema"])
def test_of_two_sets_the_plain_one_is_taken_and_a_key_takes_the_other(first: str, tmp_path: Path) -> None:
    plain, averaged = weights(1), weights(2)
    sets = {"state_dict": plain, "state_dict_ema": averaged}
    path = save({first: sets[first], **sets}, tmp_path / "net.pth")
    loaded = loads(path, plain)
    assert (loaded.key, loaded.others) == ("state_dict", ("state_dict_ema",))
    assert "state_dict" in loaded.notes()[0] and "--weights-key" in loaded.notes()[0]
    assert loads(path, averaged, weights_key="state_dict_ema").others == ()
    message = refused(path, weights_key="ema")
    assert "state_dict (" in message and "state_dict_ema (" in message


def test_a_key_may_go_on_inside_a_set(tmp_path: Path) -> None:
    student, teacher = weights(1), weights(2)
    state = {f"student.{key}": value for key, value in student.items()}
    state |= {f"teacher.{key}": value for key, value in teacher.items()}
    path = save({"state_dict": state}, tmp_path / "net.ckpt")
    loads(path, teacher, weights_key="state_dict.teacher")
    loads(save(state, tmp_path / "bare.ckpt"), student, weights_key="student")
    assert "missing" in refused(path)


def test_the_set_that_fits_is_taken_before_a_larger_one(tmp_path: Path) -> None:
    other = {f"layer{index}.weight": torch.rand(2) for index in range(40)}
    assert loads(save({"generator": other, "discriminator": weights()}, tmp_path / "gan.pth"), weights()).key == (
        "discriminator"
    )


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_as_torch_reads_them(legacy: bool, tmp_path: Path) -> None:
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    content: dict[str, Any] = {
        "shared": base,
        "view": base[1:, ::2],
        "transposed": base.T,
        "expanded": torch.rand(1).expand(3, 4),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.5),
        "parameter": nn.Parameter(torch.rand(3)),
        **{str(kind): (torch.rand(5) * 9).to(kind) for kind in (torch.float16, torch.bfloat16, torch.float64)},
        **{str(kind): torch.arange(5).to(kind) for kind in (torch.int64, torch.int32, torch.int16, torch.int8)},
        **{str(kind): torch.tensor([0, 1, 1]).to(kind) for kind in (torch.uint8, torch.bool)},
        "attribute": torch.rand(3),
    }
    if not legacy:
        content |= {"uint16": torch.tensor([1, 65535]).to(torch.uint16), "f8": torch.rand(4).to(torch.float8_e4m3fn)}
    content["attribute"].note = "kept by torch"
    path = save(content, tmp_path / "all.pth", legacy=legacy)
    with open_checkpoint(path) as found:
        assert found.keys() == content.keys()
        for name, expected in content.items():
            stored = found[name]
            assert isinstance(stored, StoredTensor) and stored.flaw is None
            actual = stored.read()
            assert tuple(stored.shape) == tuple(expected.shape) and actual.dtype == expected.dtype
            assert torch.equal(actual.double(), expected.detach().double()), name
        assert found["view"].read().untyped_storage().data_ptr() == found["shared"].read().untyped_storage().data_ptr()


@pytest.mark.parametrize("legacy", [False, True])
def test_quantised_and_sparse_tensors_are_refused_by_name(legacy: bool, tmp_path: Path) -> None:
    values = torch.rand(1, 16, 1)
    for tensor, word in (
        (torch.quantize_per_tensor(values, 0.1, 0, torch.qint8), "quantised"),
        (torch.quantize_per_tensor(values, 0.1, 0, torch.qint32), "quantised"),
        (values.to_sparse(), "not dense"),
        (values.squeeze(-1).to_sparse_csr(), "not dense"),
    ):
        path = save(weights() | {"out_bias": tensor}, tmp_path / "net.pth", legacy=legacy)
        assert f"1 not usable (out_bias: {word})" in refused(path)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = layer()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"epoch": 3, "model": m}])
@pytest.mark.filterwarnings("ignore")
def test_a_pickled_module_is_refused_with_the_line_that_saves_its_weights(
    wrap: Callable[[nn.Module], Any], legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = layer()
    module.load_state_dict(weights())
    path = tmp_path / "whole.pth"
    torch.save(wrap(module), path, _use_new_zipfile_serialization=not legacy)
    message = refused(path)
    assert "pickled module" in message and "FrequencySelfAttention" in message
    line = message[message.index("import torch") : message.rindex('"')]
    subprocess.run([sys.executable, "-c", line], cwd=tmp_path, check=True, capture_output=True)
    loads(tmp_path / "weights.pth", weights())


def test_a_torchscript_program(tmp_path: Path) -> None:
    torch.jit.trace(nn.Conv2d(1, 1, 1), torch.rand(1, 1, 2, 2)).save(tmp_path / "script.pt")
    assert "TorchScript" in refused(tmp_path / "script.pt")


def attacks(mark: Path) -> dict[str, Any]:
    touch = f"touch {mark}"
    return {
        "os.system": Named("os", "system", (touch,)),
        "posix.system": Named("posix", "system", (touch,)),
        "subprocess.check_output": Named("subprocess", "check_output", (["touch", str(mark)],)),
        "builtins.eval": Named("builtins", "eval", (f"open({str(mark)!r}, 'w')",)),
        "builtins.exec": Named("__builtin__", "exec", (f"open({str(mark)!r}, 'w')",)),
        "builtins.open": Named("builtins", "open", (str(mark), "w")),
        "torch.hub.load": Named("torch.hub", "load", (str(mark), "entry")),
        "runpy.run_path": Named("runpy", "run_path", (str(mark),)),
    }


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", list(attacks(Path())))
def test_a_file_that_would_run_a_command_is_refused_by_that_name(name: str, legacy: bool, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = save({"state_dict": weights(), "meta": attacks(mark)[name]}, tmp_path / "evil.pth", legacy=legacy)
    message = refused(path)
    assert f"would run {name} when unpickled" in message and not mark.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_calls_of_anything_else_are_not_made(legacy: bool, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    bound = Named("builtins", "getattr", (Named("pathlib", "PosixPath", (str(mark),)), "touch"))
    calls = [
        Named("pathlib", "Path.touch", (str(mark),)),
        Named("tests.unit.models.test_checkpoint_files", "Phase", (99,), {"_value_": 3}),
        Named("logging", "FileHandler", (str(mark),)),
        Named("torch.serialization", "load", (str(mark),)),
        bound,
        Named("torch.nn.parameter", "Parameter", (3,), ({"requires_grad": True}, {"__class__": 3})),
    ]
    modules = set(sys.modules)
    loads(save({"state_dict": weights(), "calls": calls}, tmp_path / "net.pth", legacy=legacy), weights())
    assert not mark.exists() and "unheard_of" not in sys.modules and set(sys.modules) == modules
    assert Phase.TRAIN.value == 1
    assert "computed" in refused(_computed(tmp_path / "computed.pth", mark)) and not mark.exists()


def _computed(path: Path, mark: Path) -> Path:
    """Save what calls the method that getattr would give."""
    touch = f"X{chr(len(str(mark)))}\0\0\0{mark}".encode()
    data = b"cbuiltins\ngetattr\ncpathlib\nPath\nX\x05\0\0\0touch\x86R" + touch + b"\x85R."
    return pickles.archive(path, b"\x80\x02" + data)


def test_state_is_not_given_to_functions_or_classes(tmp_path: Path) -> None:
    before = dict(vars(torch._utils._rebuild_tensor_v2)), torch._utils._rebuild_tensor_v2.__code__
    data = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x08\0\0\0__code__K\x01s\x86b."
    assert "not a state dict" in refused(pickles.archive(tmp_path / "build.pth", data))
    assert (dict(vars(torch._utils._rebuild_tensor_v2)), torch._utils._rebuild_tensor_v2.__code__) == before


BROKEN = {
    "a nested persistent id": b"\x80\x02X\x07\0\0\0storageX\x01\0\0\0aQQ.",
    "a persistent id of another kind": b"\x80\x02X\x06\0\0\0moduleX\x01\0\0\0a\x86Q.",
    "a persistent id as text": b"Pstorage\n.",
    "an extension code": b"\x80\x02\x82\x01.",
    "an absent memo": b"\x80\x02h\x05.",
    "an empty stack": b"\x80\x020000R.",
    "marks that do not match": b"\x80\x02(((ttttt.",
    "no end": b"\x80\x02}",
    "a buffer out of band": b"\x80\x05\x97.",
    "a text longer than the file": pickles.huge_string(),
    "a name of tuples": b"\x80\x04)\x94\x85\x94\x85\x94h\x00\x93.",
    "copies of one list": pickles.copies_bomb(3000, 3000),
    "not a mapping": b"\x80\x02]q\x00h\x00a.",
    "a key that takes for ever": pickles.memo_bomb(200),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_pickles(name: str, tmp_path: Path) -> None:
    refused(pickles.archive(tmp_path / "broken.pth", BROKEN[name]))
    (tmp_path / "legacy.pth").write_bytes(pickles.legacy_header() + BROKEN[name])
    refused(tmp_path / "legacy.pth")
    (tmp_path / "plain.pkl").write_bytes(BROKEN[name])
    refused(tmp_path / "plain.pkl")


def test_deep_nesting_ends(tmp_path: Path) -> None:
    refused(pickles.archive(tmp_path / "deep.pth", b"\x80\x02)" + b"\x85" * 300_000 + b"."))
    refused(
        pickles.archive(tmp_path / "dicts.pth", b"\x80\x02" + b"}X\x01\0\0\0a" * 100_000 + b"N" + b"s" * 100_000 + b".")
    )


def read_gamma(path: Path, data: bytes, **storages: bytes) -> Tensor:
    with open_checkpoint(pickles.archive(path, data, **storages)) as found:
        return found["gamma"].read()


def test_declared_sizes_are_held_against_the_file(tmp_path: Path) -> None:
    path, four = tmp_path / "net.pth", np.ones(4, np.float32).tobytes()
    assert torch.equal(read_gamma(path, pickles.tensor_pickle(4, (2, 2), (2, 1)), s=four), torch.ones(2, 2))
    for count in (5, 1 << 60, -4):
        with pytest.raises(CheckpointError, match=f"declares {count} values in a storage of 16 bytes"):
            read_gamma(path, pickles.tensor_pickle(count, (1,), (1,)), s=four)
    for shape, strides in (((9,), (1,)), ((2,), (1 << 62,)), ((-1,), (1,)), ((2, 2), (1,)), ((1,) * 100, (1,) * 100)):
        with pytest.raises(CheckpointError, match="damaged"):
            read_gamma(path, pickles.tensor_pickle(4, shape, strides), s=four)
    with pytest.raises(CheckpointError, match="damaged"):
        read_gamma(path, pickles.tensor_pickle(4, (4,), (1,)))


def test_a_tensor_that_would_fill_the_memory_is_refused_by_its_shape(tmp_path: Path) -> None:
    data = pickles.tensor_pickle(1, (1 << 40,), (0,))
    assert f"gamma [{1 << 40}] for [1]" in refused(pickles.archive(tmp_path / "net.pth", data, s=bytes(4)))


def test_a_compressed_archive_and_one_of_another_byte_order(tmp_path: Path) -> None:
    source = save(weights(), tmp_path / "net.pth")
    for name, compression, order in (
        ("compressed.pth", zipfile.ZIP_DEFLATED, b"little"),
        ("big.pth", zipfile.ZIP_STORED, b"big"),
    ):
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(tmp_path / name, "w", compression) as new:
            for item in old.namelist():
                new.writestr(item, order if item.endswith("byteorder") else old.read(item))
    assert "compressed" in refused(tmp_path / "compressed.pth")
    assert "byte order" in refused(tmp_path / "big.pth")
