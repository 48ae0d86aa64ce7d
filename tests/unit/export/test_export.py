from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgefsa.data.classes import CAMVID
from edgefsa.errors import ExportError, InputError
from edgefsa.export import inline_functions, load_graph, onnx_from_model, read_metadata, weights_hash
from edgefsa.export.check import check_export, module_logits
from edgefsa.graph.files import write_metadata
from edgefsa.metadata import Batches
from edgefsa.models import ModelConfig, create_model
from edgefsa.models.frequency import FrequencySelfAttention, SpectralMask
from edgefsa.quantize import Ranges
from tests.unit.small_transformer import SmallTransformer

SIZE_HW = (64, 96)


def run(model: onnx.ModelProto, frames: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"frames": frames})[0]


def torch_masks(model: nn.Module, frames: np.ndarray) -> np.ndarray:
    """Straight from the frames, with the normalisation written out."""
    rgb = torch.from_numpy(frames[..., [2, 1, 0]].astype(np.float32)).permute(0, 3, 1, 2)
    mean, std = (torch.tensor(item).view(3, 1, 1) for item in (model.config.mean_rgb, model.config.std_rgb))
    with torch.no_grad():
        logits = model.eval()((rgb - mean) / std)
    return F.interpolate(logits, size=frames.shape[1:3], mode="bilinear").argmax(1).numpy()


class Mixed(nn.Module):
    """Two frequency layers of two variants, a group norm, batch norms before and after, an image read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.config = ModelConfig("mixed", "test", 5, size_hw=(24, 40), size_min=8)
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.norm = nn.BatchNorm2d(8)
        self.first = FrequencySelfAttention(8, k=4, recurrence=2)
        self.group_norm = nn.GroupNorm(2, 8)
        self.mask = SpectralMask(8, radius=2, lambdas=(0.7, 0.8, 0.9))
        self.second = FrequencySelfAttention(8, k=3, mode="linsoftmax")
        self.head = nn.Conv2d(11, 5, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.stem(x)))
        y = self.second(self.mask(self.group_norm(self.first(y))))
        return self.head(torch.cat([y, F.avg_pool2d(x, 3, 2, 1)], 1))


@pytest.fixture
def mixed() -> nn.Module:
    torch.manual_seed(1)
    model = Mixed()
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if tensor.is_floating_point():
                tensor.uniform_(0.5, 1.5) if "running_var" in name else tensor.normal_(0, 0.5)
    return model.eval()


def test_the_graph_takes_frames_and_gives_the_modules_masks(edge: nn.Module, edge_onnx: Path):
    model = load_graph(edge_onnx)
    frames = np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3), dtype=np.uint8)
    masks = run(model, frames)
    assert masks.dtype == np.uint8 and masks.shape == (1, *SIZE_HW)
    assert (masks == torch_masks(edge, frames)).mean() > 0.999
    assert [item.name for item in model.graph.input] == ["frames"]
    assert [item.name for item in model.graph.output] == ["masks"]
    assert "logits" in {name for node in model.graph.node for name in node.output}


def test_progress_counts_trace_two_checks_and_the_file(mixed: nn.Module, frame, tmp_path: Path):
    told: list[tuple[int, int]] = []
    path = tmp_path / "model.onnx"

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        assert path.is_file() == (done == total)

    report = onnx_from_model(mixed, path, frame=frame, progress=progress)
    assert told == [(done, 4) for done in range(5)]
    assert report.bytes == path.stat().st_size and sum(report.operators.values()) == report.nodes


def test_only_frequency_operators_are_functions_and_inlining_leaves_standard_operators(edge_onnx: Path):
    model = load_graph(edge_onnx)
    kinds = [node.op_type for node in model.graph.node]
    assert [node.op_type for node in model.graph.node if node.domain] == ["TruncatedDctAttention", "UpsampleArgmax"]
    assert "BatchNormalization" not in kinds and "Gather" not in kinds and "Div" not in kinds
    assert kinds[:4] == ["Cast", "Sub", "Transpose", "Conv"]
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    inlined = inline_functions(model)
    assert not inlined.functions and {node.domain for node in inlined.graph.node} == {""}
    assert [item.domain for item in inlined.opset_import] == [""]


def test_names_are_those_of_modules_and_parameters(edge: nn.Module, edge_onnx: Path):
    model = load_graph(edge_onnx)
    by_name = {node.name: node for node in model.graph.node}
    assert len(by_name) == len(model.graph.node)
    conv = by_name["layer1.0.conv1/Conv"]
    assert list(conv.input) == ["stem.5/Relu", "layer1.0.conv1.weight", "layer1.0.conv1.bias"]
    assert list(conv.output) == ["layer1.0.conv1/Conv"]
    assert list(by_name["attention/TruncatedDctAttention"].input)[1:3] == ["attention.basis_h", "attention.basis_w"]
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    np.testing.assert_array_equal(stored["classifier.weight"], edge.classifier.weight.detach().numpy())


def test_nothing_in_the_file_tells_of_the_machine(edge_onnx: Path):
    data = edge_onnx.read_bytes()
    for trace in (str(Path.cwd()), str(Path.home()), str(Path(torch.__file__).parents[1]), str(edge_onnx.parent)):
        assert trace.encode() not in data
    assert b"stack_trace" not in data and b"pkg.torch" not in data and b'File "' not in data


def test_metadata_says_what_the_model_is(edge: nn.Module, edge_onnx: Path):
    metadata = read_metadata(edge_onnx)
    assert metadata["model"] == "fsanet-edge" and metadata["options"] == dict(edge.config.options)
    assert metadata["classes"] == list(CAMVID.names) and metadata["ignore_index"] == 11
    assert metadata["palette"][3] == list(CAMVID.palette_rgb[3])
    assert metadata["size_hw"] == list(SIZE_HW) and metadata["batch"] == 1 and metadata["outputs"] == "masks"
    assert metadata["weights"] == {"kind": "trained", "source": "s", "sha256": "0"}
    rebuilt = create_model(metadata["model"], **metadata["options"])
    assert rebuilt.config == edge.config


def test_logits_of_open_batches_of_another_size(edge: nn.Module, edge_onnx: Path, frame: np.ndarray, tmp_path: Path):
    path, batches = tmp_path / "l.onnx", Batches(1, 2, 3)
    report = onnx_from_model(edge, path, size_hw=(56, 40), batch=batches, outputs="logits", frame=frame)
    model = load_graph(path)
    for count in batches:
        frames = np.random.default_rng(0).integers(0, 256, (count, 56, 40, 3), dtype=np.uint8)
        expected = module_logits(edge, frames, edge.config.mean_rgb, edge.config.std_rgb)
        np.testing.assert_allclose(run(model, frames), expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    assert read_metadata(model)["batch"] == report.batch == 3 and read_metadata(model)["batches"] == [1, 2, 3]
    assert report.checks["inlined"].relative_l2 < 1e-5
    assert weights_hash(model) == weights_hash(load_graph(edge_onnx))


def test_a_network_that_is_made_for_one_number_of_frames(frame: np.ndarray, tmp_path: Path):
    """Its attention brings the frames behind the tokens, where no Reshape can copy their number."""
    with pytest.raises(ExportError, match=r"transformer cannot be .* open batch 1:2:3, as .* made for 3 frames"):
        onnx_from_model(SmallTransformer().eval(), tmp_path / "m.onnx", batch=Batches(1, 2, 3))
    assert list(tmp_path.iterdir()) == []


def test_the_shipped_ranges_are_of_the_shipped_network(edge_onnx: Path):
    ranges = Ranges.read(Path(__file__).parents[3] / "calibration" / "fsanet-edge.json")
    ranges.check(load_graph(edge_onnx))
    assert ":/" not in ranges.data["name"]


HEAD_TENSORS = ("query_weight", "key_weight", "value_weight", "value_bias", "out_weight", "shift")


@pytest.mark.parametrize("name", ["fuse.0.weight", *HEAD_TENSORS])
def test_the_hash_is_of_the_weights(edge_onnx: Path, name: str):
    model = load_graph(edge_onnx)
    before = weights_hash(model)
    weight = next(item for item in model.graph.initializer if item.name == name or item.name.endswith(f".{name}"))
    array = onnx.numpy_helper.to_array(weight).copy()
    array.flat[0] += 1e-3
    weight.CopyFrom(onnx.numpy_helper.from_array(array, weight.name))
    assert weights_hash(model) != before


def test_the_hash_is_of_settings_and_wiring(edge_onnx: Path):
    def changed(**attributes: object) -> onnx.ModelProto:
        model = load_graph(edge_onnx)
        (node,) = (node for node in model.graph.node if node.op_type == "TruncatedDctAttention")
        for item in node.attribute:
            if item.name in attributes:
                item.CopyFrom(onnx.helper.make_attribute(item.name, attributes[item.name]))
        return model

    rewired = changed()
    tensors = [node.output[0] for node in rewired.graph.node if node.op_type == "Relu"]
    reader = next(node for node in rewired.graph.node if tensors[3] in node.input)
    reader.input[list(reader.input).index(tensors[3])] = tensors[1]
    other_options = changed()
    metadata = read_metadata(other_options)
    write_metadata(other_options, {**metadata, "options": {**metadata["options"], "k": 4}})
    hashes = [
        weights_hash(item) for item in (changed(mode="linsoftmax"), changed(recurrence=3), rewired, other_options)
    ]
    assert len({weights_hash(changed()), *hashes}) == 5
    assert weights_hash(changed(scale=0.5)) == weights_hash(changed())


def test_other_sizes_of_folded_forms_hash_the_same_and_other_projections_do_not(
    mixed: nn.Module, frame, tmp_path: Path
):
    """One attention has a batch norm folded in, the norm's own change stays unseen, that of its queries does not."""
    mixed.second = FrequencySelfAttention(8, k=3, form="mmseg", mode="linsoftmax").eval()
    with torch.no_grad():
        mixed.second.conv_out.bn.weight.fill_(0.5)

    def hash_of(**options: object) -> str:
        onnx_from_model(mixed, tmp_path / "m.onnx", frame=frame, **options)
        return weights_hash(load_graph(tmp_path / "m.onnx"))

    before = hash_of()
    assert hash_of(size_hw=(32, 24), batch=2, outputs="logits") == before
    with torch.no_grad():
        mixed.second.phi.conv.weight[0, 0] += 1e-3
    assert hash_of() != before


@pytest.mark.parametrize("size_hw", [(24, 40), (25, 43)])
def test_any_network_with_frequency_layers(mixed: nn.Module, frame: np.ndarray, tmp_path: Path, size_hw):
    onnx_from_model(mixed, tmp_path / "m.onnx", size_hw=size_hw, batch=2, frame=frame)
    model = load_graph(tmp_path / "m.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (2, *size_hw, 3), dtype=np.uint8)
    for graph in (model, inline_functions(model)):
        assert (run(graph, frames) == torch_masks(mixed, frames)).mean() > 0.999
    attentions = [node for node in model.graph.node if node.op_type == "TruncatedDctAttention"]
    assert [node.overload for node in attentions] == ["", "2"]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_spanet(frame: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from edgefsa.models import spanet

    monkeypatch.setitem(spanet.VARIANTS, "tiny", ((1, 1, 1, 1), (8, 12, 16, 20)))
    torch.manual_seed(0)
    model = spanet.spanet("spanet-tiny", "tiny").eval()
    onnx_from_model(model, tmp_path / "s.onnx", size_hw=(72, 100), frame=frame)
    graph = load_graph(tmp_path / "s.onnx")
    frames = np.random.default_rng(0).integers(0, 256, (1, 72, 100, 3), dtype=np.uint8)
    assert (run(graph, frames) == torch_masks(model, frames)).mean() > 0.999
    stored = {item.name for item in graph.graph.initializer}
    kinds = [node.op_type for node in graph.graph.node]
    assert kinds.count("SpectralMask") == 4 and "CastLike" not in kinds and "BatchNormalization" not in kinds
    assert all(node.input[1] in stored for node in graph.graph.node if node.op_type == "Conv")


def test_onnxsim_changes_nothing_that_matters(edge_onnx: Path):
    import onnxsim

    model = load_graph(edge_onnx)
    simple, same = onnxsim.simplify(inline_functions(model), check_n=0)
    frames = np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3), dtype=np.uint8)
    np.testing.assert_array_equal(run(simple, frames), run(model, frames))
    assert same and read_metadata(simple) == read_metadata(model)
    convolutions = [node.op_type for node in simple.graph.node].count("Conv")
    assert convolutions == [node.op_type for node in model.graph.node].count("Conv")


def test_a_graph_that_differs_from_the_module_is_refused(edge: nn.Module, edge_onnx: Path):
    model = load_graph(edge_onnx)
    frames = np.random.default_rng(0).integers(0, 256, (1, *SIZE_HW, 3), dtype=np.uint8)
    logits = module_logits(edge, frames, edge.config.mean_rgb, edge.config.std_rgb)
    check_export(model, logits, frames)
    with pytest.raises(ExportError, match="other logits than the module"):
        check_export(model, logits * 1.001, frames)
    upsample = next(node for node in model.graph.node if node.op_type == "UpsampleArgmax")
    model.graph.node.remove(upsample)
    wrong = onnx.helper.make_node("ArgMin", ["large"], ["UpsampleArgmax"], axis=1, keepdims=0)
    sizes = onnx.numpy_helper.from_array(np.array([1, 11, *SIZE_HW]), "sizes")
    resize = onnx.helper.make_node("Resize", ["logits", "", "", "sizes"], ["large"], mode="linear")
    model.graph.initializer.append(sizes)
    for position, node in enumerate((resize, wrong), len(model.graph.node) - 2):
        model.graph.node.insert(position, node)
    with pytest.raises(ExportError, match="another class than the module for"):
        check_export(model, logits, frames)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"size_hw": (0, 96)}, "cannot take 0x96"),
        ({"size_hw": (60, 96)}, "multiples of 8"),
        ({"batch": 0}, "batch 0 is no number of frames"),
        ({"batch": Batches(0, 1, 2)}, "batch 0:1:2 is no number of frames"),
        ({"batch": Batches(1, 4, 2)}, "batch 1:4:2 falls; .* as 1:4:8"),
        ({"outputs": "probabilities"}, "choose masks or logits"),
    ],
)
def test_bad_requests_leave_no_file(edge: nn.Module, tmp_path: Path, arguments: dict, message: str):
    with pytest.raises(InputError, match=message):
        onnx_from_model(edge, tmp_path / "bad.onnx", **{"size_hw": SIZE_HW, **arguments})
    assert not list(tmp_path.iterdir())


def test_networks_that_are_no_segmentation_networks_are_refused(mixed: nn.Module, frame, tmp_path: Path):
    with pytest.raises(ExportError, match="has no `config`"):
        onnx_from_model(nn.Conv2d(3, 5, 1), tmp_path / "a.onnx", frame=frame)
    mixed.config = replace(mixed.config, task="classification")
    with pytest.raises(ExportError, match="takes segmentation networks"):
        onnx_from_model(mixed, tmp_path / "a.onnx", frame=frame)
    mixed.config = replace(mixed.config, task="segmentation", num_classes=300)
    with pytest.raises(InputError, match="300 classes do not fit"):
        onnx_from_model(mixed, tmp_path / "a.onnx", frame=frame)
    assert not list(tmp_path.iterdir())


def test_what_torch_cannot_trace_is_one_clear_line(mixed: nn.Module, frame, tmp_path: Path):
    class Branching(Mixed):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) if x.sum() > 0 else super().forward(-x)

    model = Branching().eval()
    with pytest.raises(ExportError, match="cannot be traced") as caught:
        onnx_from_model(model, tmp_path / "a.onnx", frame=frame)
    assert "\n" not in str(caught.value)


def test_the_module_stays_as_it_was(edge: nn.Module, edge_onnx: Path):
    assert isinstance(edge.attention, FrequencySelfAttention)
    assert any(isinstance(item, nn.BatchNorm2d) for item in edge.modules())
