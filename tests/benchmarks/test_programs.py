"""The benchmark programs from end to end, at a size and a length that tell nothing but that they work."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edgefsa.data.readers import open_dataset
from edgefsa.errors import InputError
from edgefsa.models import create_model

pytest.importorskip("openvino", reason="the programs measure OpenVINO engines: pip install 'edgefsa[cpu]'")


def test_the_reference_is_measured_beside_the_models(program, few_frames, tmp_path: Path) -> None:
    program("reference").main(["fsanet-edge", "--size", "64x96", "--rounds", "2", "--results", str(tmp_path)])
    record = json.loads((tmp_path / "reference-cpu.json").read_text())
    rows = {(row["model"], row["target"]): row for row in record["rows"]}
    assert list(rows) == [
        (model, target) for model in ("resnet18-os8-fcn", "fsanet-edge") for target in ("openvino", "onnxruntime")
    ]
    for (model, target), row in rows.items():
        reference = rows["resnet18-os8-fcn", target]
        assert row["share"] == pytest.approx(row["frame_to_mask_ms"] / reference["frame_to_mask_ms"], abs=0.02)
        assert row["share_limit"] == (0.40 if model == "fsanet-edge" else None)
        assert row["engine_ms"] > 0 and row["precision"] == "int8"
    assert record["size_hw"] == [64, 96] and record["networks"]["fsanet-edge"]["layers"]
    assert "openvino" in record["machine"]["packages"] and record["date"]


def test_accuracy_tells_built_and_added_engines_apart(
    program, few_frames, small_camvid, tmp_path: Path, monkeypatch
) -> None:
    accuracy = program("accuracy")
    monkeypatch.setattr(accuracy, "ENGINES", [("openvino", "fp32")])
    engine = program("_common").build("fsanet-edge", "fp32", "onnxruntime", tmp_path)
    arguments = ["fsanet-edge", "--data", small_camvid, "--also", f"again={engine}"]
    machine = {"cpu": "A CPU", "cores": 2, "cpu_features": []}
    earlier = [{"model": "spanet-edge", "miou": 0.7}, {"model": "fsanet-edge", "miou": 0.6}]
    stored = {"command": "earlier", "date": "2026-01-02", "machine": machine, "rows": earlier}
    (tmp_path / "accuracy-camvid.json").write_text(json.dumps(stored))
    accuracy.main([*arguments, "--results", str(tmp_path)])
    record = json.loads((tmp_path / "accuracy-camvid.json").read_text())
    built, added, kept = record["rows"]
    assert kept == {"origin": "`earlier`, 2026-01-02, A CPU, 2 cores, ", **earlier[0]}
    assert (built["model"], built["target"], "label" in built) == ("fsanet-edge", "openvino", False)
    assert (added["model"], added["target"], added["label"]) == ("fsanet-edge", "onnxruntime", "again")
    assert added["miou"] == pytest.approx(built["miou"], abs=0.01)
    assert added["weights"] == built["weights"] and len(built["per_class_iou"]) == 11
    assert record["command"] == "python benchmarks/accuracy.py fsanet-edge --data camvid:DIR"
    cost = program("evaluation").measure(engine, open_dataset(small_camvid, "val"), rounds=1)
    assert cost["ratio"] == pytest.approx(cost["evaluation_s"] / cost["engine_s"], abs=0.1) and cost["engine_s"] > 0


def test_fits_are_measured_on_frames_of_other_shapes(program, small_camvid, tmp_path: Path) -> None:
    fit = program("fit")
    flags = ["--precision", "fp32", "--size", "64x96", "--limit", "2", "--results", str(tmp_path)]
    fit.main(["fsanet-edge", "--data", small_camvid, *flags])
    record = json.loads((tmp_path / "fit-camvid.json").read_text())
    rows = {(row["fit"], row["shape"]): row for row in record["rows"]}
    assert set(rows) == {(name, shape) for name in ("stretch", "letterbox", "crop") for shape in fit.SHAPES}
    same = {name: rows[name, "as they are"]["miou"] for name in ("stretch", "letterbox", "crop")}
    assert len(set(same.values())) == 1, "in the engine's own shape all fits are one"
    seen = rows["crop", "1:1"]
    assert seen["miou"] < seen["miou_seen"], "what a crop leaves out is wrong"
    assert (record["frames"], record["precision"]) == (2, "fp32")
    assert len(fit.lines(record["rows"])) == len(fit.SHAPES)


@pytest.fixture
def short(program, monkeypatch):
    """Make the runs of the ablation three steps long."""
    ablation = program("ablation")
    monkeypatch.setattr(ablation, "STEPS", 3)
    monkeypatch.setattr(ablation, "ENGINES", [("openvino", "fp32"), ("openvino", "int8")])
    for name, value in (("batch_size", 2), ("crop_hw", (48, 48))):
        monkeypatch.setitem(ablation.SCHEDULE, name, value)
    torch.set_num_threads(1)
    return ablation


def test_the_ablation_trains_what_is_missing_and_takes_what_is_there(
    short, few_frames, small_camvid, tmp_path: Path, monkeypatch
) -> None:
    runs, size = tmp_path / "runs", ["--size", "64x96", "--rounds", "2", "--results", str(tmp_path)]
    arguments = ["fsa_none", "--data", small_camvid, "--runs", str(runs), "--seeds", "0", "1", *size]
    short.main(arguments)
    assert sorted(path.name for path in runs.iterdir()) == ["fsa_none", "fsa_none_seed1"]
    assert short.steps_done(runs / "fsa_none") == 3
    first = json.loads((tmp_path / "ablation-camvid.json").read_text())
    (row,) = first["rows"]
    assert set(row["accuracy"]) == set(row["frame_to_mask_ms"])
    assert all(len(reports) == 2 for reports in row["accuracy"].values())
    assert row["steps"] == [3, 3] and first["seeds"] == [0, 1]

    monkeypatch.setattr(short, "train", lambda *_, **__: pytest.fail("a finished run is trained again"))
    variant = short.VARIANTS["fsa_none"]
    assert short.weights_of(variant, small_camvid, runs / "fsa_none", 0) == runs / "fsa_none" / "weights.safetensors"
    with monkeypatch.context() as other:
        other.setitem(short.SCHEDULE, "learning_rate", 0.5)
        with pytest.raises(InputError, match="fsa_none was trained with another learning rate; give another --runs"):
            short.weights_of(variant, small_camvid, runs / "fsa_none", 0)
    monkeypatch.setattr(short, "STEPS", 900)
    with pytest.raises(InputError, match="3 steps, not about 900"):
        short.weights_of(variant, small_camvid, runs / "fsa_none", 0)


def test_every_variant_trains_for_as_many_steps(program, tmp_path: Path, small_camvid, monkeypatch) -> None:
    """All settings but model, options and data are alike, and the lengths are within half an epoch of each other."""
    ablation = program("ablation")
    monkeypatch.setitem(ablation.SCHEDULE, "batch_size", 8)
    alike = set()
    for name, variant in ablation.VARIANTS.items():
        settings = ablation.settings_of(variant, small_camvid, tmp_path / name, seed=0)
        epoch = ablation.steps_per_epoch(variant, small_camvid)
        assert abs(settings.epochs * epoch - ablation.STEPS) <= epoch / 2
        assert ("synthetic" in settings.data) == variant.synthetic == (settings.shares == (7.0, 1.0))
        create_model(variant.model, **variant.options)
        fields = ("crop_hw", "batch_size", "optimizer", "learning_rate", "weight_decay", "average_decay", "seed")
        alike.add((*(getattr(settings, field) for field in fields), settings.augmentation))
    assert len(alike) == 1


def test_only_a_run_with_weights_is_finished(program, tmp_path: Path) -> None:
    ablation = program("ablation")
    with (tmp_path / "log.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["step", "loss"])
        writer.writeheader()
        writer.writerows([{"step": 600, "loss": 2.0}, {"step": 1200, "loss": 1.5}])
    assert ablation.steps_done(tmp_path) == 0
    (tmp_path / "weights.safetensors").touch()
    assert ablation.steps_done(tmp_path) == 1200


def test_the_swap_keeps_the_trained_block_and_measures_each_k(
    program, few_frames, small_camvid, tmp_path: Path, monkeypatch
) -> None:
    swap = program("nonlocal_swap")
    monkeypatch.setattr(swap, "LARGE_HW", (8, 12))
    model = create_model("fsanet-edge", attention="nonlocal")
    torch.nn.init.ones_(model.attention.gamma)
    weights = tmp_path / "weights.safetensors"
    save_file(model.state_dict(), weights)
    arguments = ["--data", small_camvid, "--weights", str(weights), "--k", "2", "--size", "64x96"]
    swap.main([*arguments, "--rounds", "2", "--block-rounds", "2", "--results", str(tmp_path)])
    record = json.loads((tmp_path / "nonlocal-swap-camvid.json").read_text())
    assert [row["attention"] for row in record["rows"]] == ["non-local", "frequency, k = 2", "gain set to 0"]
    assert all(set(row["accuracy"]) == {"openvino fp32", "openvino int8"} for row in record["rows"])
    forms = ["non-local", "non-local, products reordered", "frequency, k = 2"]
    assert [(row["attention"], row["size_hw"]) for row in record["blocks"]] == [
        (form, size) for size in ([4, 6], [8, 12]) for form in forms
    ]
    small, large = (next(row for row in record["blocks"] if row["size_hw"] == size) for size in ([4, 6], [8, 12]))
    # Projections grow with the pixels T (12 + 12 + 96 rows), affinity and mixing with their square (12 + 96).
    for row, pixels in ((small, 24), (large, 96)):
        assert row["macs"] == 96 * 120 * pixels + (12 + 96) * pixels**2
