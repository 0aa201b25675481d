import json
import os
import re
from hashlib import sha256

import pytest
import torch

from medseg.config.schema import LabelConfig
from medseg.core.errors import InputError, MachineError, ModelError, UsageError
from medseg.io import ReadOptions
from medseg.model import ModelInfo, load_model, save_model
from medseg.nn.networks import build
from medseg.transforms.preprocessing import ChannelNormalisation
from tests.predict.plans import small_plan

PLAN = small_plan(labels={"liver": 1, "whole | tumour": [2, 3]}, spacing_mm=(0.8, 0.8, None))
FACTS = {"steps": 829, "pflop": 0.05, "cases": 33}
METRICS = {
    "schema": "medseg/summary/1",
    "headline": {"dice": 0.8812, "nsd": float("nan")},
    "n_cases": 8,
    "labels": {"liver": {"dice": {"all": 0.91}}},
}


def weights_of(seed, plan=PLAN):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(plan.network).state_dict()


@pytest.fixture
def folder(tmp_path):
    info = ModelInfo(PLAN, "livers", ReadOptions(geometry="sform"), FACTS, METRICS)
    save_model(tmp_path / "run" / "model", info, {0: weights_of(0)})
    return tmp_path / "run" / "model"


def test_what_was_saved_is_loaded_again(folder):
    model = load_model(folder)
    assert (model.name, model.plan, model.folds) == ("livers", PLAN, ("fold_0",))
    assert model.read == ReadOptions(geometry="sform")
    network = model.network(0)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    for name, tensor in weights_of(0).items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_codes_of_labels_travel_with_the_model(tmp_path):
    declared = {"liver": LabelConfig(value=1, code="10200004", meaning="Liver", color=(1, 2, 3))}
    save_model(tmp_path / "model", ModelInfo(PLAN, codes=declared), {0: weights_of(0)})
    assert load_model(tmp_path / "model").codes == {"liver": declared["liver"].model_copy(update={"value": None})}
    assert json.loads((tmp_path / "model" / "model.json").read_text())["codes"] == {
        "liver": {"code": "10200004", "meaning": "Liver", "color": [1, 2, 3]}
    }


def test_a_model_without_declared_codes_is_written_as_before_there_were_codes(folder):
    assert "codes" not in json.loads((folder / "model.json").read_text())
    assert load_model(folder).codes == {}


def test_a_run_stands_for_its_model(folder):
    assert load_model(folder.parent).digest == load_model(folder).digest


def test_a_model_can_be_copied_anywhere_and_stays_itself(folder, tmp_path):
    digest = load_model(folder).digest
    folder.rename(tmp_path / "elsewhere")
    assert load_model(tmp_path / "elsewhere").digest == digest


def test_weights_of_another_layout_and_type_are_saved_as_plain_float32(tmp_path):
    expected = weights_of(0)
    odd = {
        name: tensor.double().to(memory_format=torch.channels_last_3d) if tensor.ndim == 5 else tensor.double()
        for name, tensor in expected.items()
    }
    found = save_model(tmp_path, ModelInfo(PLAN), {"all": odd}).network("all").state_dict()
    for name, tensor in expected.items():
        assert found[name].dtype == torch.float32
        assert torch.equal(found[name], tensor)


def test_there_is_nothing_in_the_folder_but_what_is_documented(folder, tmp_path):
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "fold_0.safetensors", "model.json"]
    content = json.loads((folder / "model.json").read_text())
    assert content["schema"] == "medseg/model/1"
    assert set(content) == {"schema", "name", "plan", "read", "versions", "weights", "training", "metrics"}
    assert content["metrics"]["fold_0"]["headline"] == {"dice": 0.8812, "nsd": None}
    for path in folder.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes()


def test_a_fold_that_is_added_leaves_the_others_and_changes_the_digest(folder):
    first = load_model(folder)
    added = save_model(folder, ModelInfo(PLAN, "livers", training={"steps": 10}), {1: weights_of(1)})
    assert added.folds == ("fold_0", "fold_1")
    assert added.digest != first.digest
    assert torch.equal(next(added.network(0).parameters()), next(first.network(0).parameters()))
    facts = json.loads((folder / "model.json").read_text())["training"]
    assert facts == {"fold_0": FACTS, "fold_1": {"steps": 10}}


def test_folds_of_one_model_may_differ_in_their_reasons_but_not_in_their_preprocessing(folder):
    save_model(folder, ModelInfo(PLAN.model_copy(update={"reasons": {"patch": "more memory"}})), {1: weights_of(1)})
    other = small_plan(labels={"liver": 1, "whole | tumour": [2, 3]}, spacing_mm=(1.0, 1.0, None))
    with pytest.raises(ModelError, match="folds of another plan: preprocessing differ"):
        save_model(folder, ModelInfo(other), {2: weights_of(2)})
    assert load_model(folder).folds == ("fold_0", "fold_1")


def test_a_fold_that_replaces_the_only_one_may_come_from_another_plan(folder):
    other = small_plan(labels={"spleen": 1})
    assert save_model(folder, ModelInfo(other), {0: weights_of(0, other)}).plan == other


@pytest.mark.parametrize("place", [0, 0.5, -1])
def test_one_changed_byte_is_found_and_the_file_named(folder, place):
    path = folder / "fold_0.safetensors"
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1)) if place >= 0 else -1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"fold_0\.safetensors is damaged"):
        load_model(folder)


def test_missing_weights_are_named(folder):
    (folder / "fold_0.safetensors").unlink()
    with pytest.raises(ModelError, match=r"fold_0\.safetensors is missing"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda state: state.pop(next(iter(state))), "is missing"),
        (lambda state: state.update(stranger=torch.zeros(3)), "stranger has no place"),
        (lambda state: state.update({next(iter(state)): torch.zeros(1)}), r"is \[1\] float32 instead of \["),
        (
            lambda state: state.update({name: tensor.to(torch.int32) for name, tensor in state.items()}),
            "int32 instead of .* float32",
        ),
    ],
)
def test_weights_that_are_not_the_planned_networks_are_refused(tmp_path, change, reason):
    state = dict(weights_of(0))
    change(state)
    model = save_model(tmp_path, ModelInfo(PLAN), {0: state})
    with pytest.raises(ModelError, match=reason):
        model.network(0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": "medseg/model/9"}, "made by a newer medseg"),
        ({"surprise": 1}, "surprise"),
        ({"weights": {"fold_0": {"file": "../secret", "sha256": "sha256:" + "0" * 64}}}, "weights.fold_0.file"),
        ({"plan": {}}, "plan"),
        ({"read": {"geometry": "guess"}}, "geometry=guess"),
    ],
)
def test_a_description_that_cannot_be_trusted_is_refused(folder, change, reason):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ModelError, match=reason):
        load_model(folder)


def test_a_run_that_is_not_finished_says_how_to_go_on(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    with pytest.raises(ModelError, match=r"training has not finished; resume it with: medseg train .* --resume"):
        load_model(tmp_path)


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file; a model is a folder"):
        load_model(tmp_path / "file")
    with pytest.raises(ModelError, match="holds no model"):
        load_model(tmp_path)


@pytest.mark.parametrize(("asked", "names"), [(None, ("fold_0",)), ([0], ("fold_0",)), (["0", "fold_0"], ("fold_0",))])
def test_folds_are_called_by_number_or_name(folder, asked, names):
    assert load_model(folder).choose(asked) == names


@pytest.mark.parametrize(
    ("asked", "reason"), [([3], "no fold_3; it has fold_0"), (["first"], "'first' is no fold"), ([], "no fold")]
)
def test_a_fold_that_is_not_there_is_refused(folder, asked, reason):
    with pytest.raises(UsageError, match=reason):
        load_model(folder).choose(asked)


def test_the_card_tells_what_a_user_must_know_in_valid_tables(folder):
    card = (folder / "README.md").read_text()
    assert card.startswith("# livers\n")
    for expected in (
        "| liver | 1 |",
        "| whole \\| tumour | 2, 3 |",
        "| steps | 829 |",
        "| cases | 8 |",
        "| dice | 0.8812 |",
        "| dice of: liver | 0.91 |",
        "0.8 × 0.8 × own mm",
        "## Limits",
        "no medical device",
        "medseg predict SCANS -m MODEL -o OUT",
    ):
        assert expected in card
    assert "None" not in card
    assert "nan" not in card


def test_a_model_without_validation_says_so(tmp_path):
    save_model(tmp_path, ModelInfo(PLAN), {0: weights_of(0)})
    assert "nothing is known about its accuracy" in (tmp_path / "README.md").read_text()


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes of files")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_whoever_may_read_the_description_may_read_the_weights(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        save_model(tmp_path / "model", ModelInfo(PLAN), {0: weights_of(0)})
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "model").iterdir()} == {mode}


@pytest.mark.skipif(os.name != "posix", reason="needs the file size limit of POSIX")
def test_a_disk_that_is_full_at_the_weights_is_the_machines_and_leaves_the_model_whole(folder):
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(MachineError, match=r"disk is full: .*fold_1\.safetensors"):
            save_model(folder, ModelInfo(PLAN), {1: weights_of(1)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert load_model(folder).folds == ("fold_0",)
    assert not list(folder.glob(".part-*"))


def test_a_name_that_nobody_chose_is_not_shown_to_others(folder):
    model = load_model(folder)
    content = json.loads((folder / "model.json").read_text())
    assert model.digest == f"sha256:{sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()}"
    assert model.title == f"model {model.digest[7:15]}"


def test_a_model_is_called_and_described_as_was_said(tmp_path):
    info = ModelInfo(PLAN, "Liver in CT", is_named=True, description="Portal venous phase")
    model = save_model(tmp_path / "model", info, {0: weights_of(0)})
    assert (model.title, model.description) == ("Liver in CT", "Portal venous phase")
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith("# Liver in CT\n\nPortal venous phase\n")
    nameless = save_model(tmp_path / "nameless", ModelInfo(PLAN), {0: weights_of(0)})
    assert re.fullmatch("model [0-9a-f]{8}", nameless.title)
    assert (tmp_path / "nameless" / "README.md").read_text().startswith("# medseg model\n")


def test_names_are_no_tags_and_no_cells_of_the_card(tmp_path):
    evil = "<img src=x onerror=alert(1)>|[x](javascript:1)\n# Trusted"
    plan = small_plan(channels=(evil,), labels={evil: 1})
    save_model(tmp_path, ModelInfo(plan, evil, description=evil), {0: weights_of(0, plan)})
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "<img" not in card
    assert "](javascript" not in card.replace("\\](", "")
    assert "\n# Trusted" not in card


def changed(plan, *path, value):
    """The JSON of a plan with another value at a place."""
    content = json.loads(json.dumps(plan))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return content


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("patch",), [10**9] * 3),
        (("patch",), [4096] * 3),
        (("patch",), [0, 16, 16]),
        (("patch",), [-16, 16, 16]),
        (("batch",), 10**12),
        (("network", "features"), [10**6, 10**12]),
        (("network", "features"), [-4, 8]),
        (("network", "features"), [8] * 3000),
        (("network", "kernels"), [[10**5 + 1] * 3] * 2),
        (("network", "n_classes"), 10**9),
        (("network", "n_classes"), 5),
        (("network", "in_channels"), 10**6),
        (("network", "in_channels"), 2),
        (("preprocessing", "spacing_mm"), [float("nan"), 1.0, 1.0]),
        (("preprocessing", "spacing_mm"), [0.0, 1.0, 1.0]),
        (("preprocessing", "spacing_mm"), [float("inf"), 1.0, 1.0]),
        (("mirror_axes",), [7]),
        (("labels",), {f"label {n}": n for n in range(1, 10**5)}),
        (("labels",), {"liver": -1}),
        (("channels",), []),
    ],
)
def test_a_plan_beyond_all_bounds_is_refused_before_anything_is_built(folder, path, value):
    file = folder / "model.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "plan": changed(content["plan"], *path, value=value)}))
    with pytest.raises(InputError, match=r"."):
        load_model(folder)


def test_a_fold_cannot_name_the_file_of_another(tmp_path):
    model = save_model(tmp_path / "model", ModelInfo(PLAN), {0: weights_of(0), 1: weights_of(1)})
    path = model.folder / "model.json"
    content = json.loads(path.read_text())
    content["weights"]["fold_0"] = content["weights"]["fold_1"]
    path.write_text(json.dumps(content))
    with pytest.raises(ModelError, match="fold_0 are not in a file of that name"):
        load_model(model.folder)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"scheme": "ct", "low": -160.0, "high": 240.0, "mean": 1.0, "sd": 2.0}, "cut off to -160 … 240, then scaled"),
        ({"scheme": "rescale", "low": 0.0, "high": 255.0}, "as stored, scaled to 0 … 255"),
        ({"scheme": "zscore", "nonzero": True}, "standard deviation 1 in each image, zeros left out"),
        ({"scheme": "percentile"}, "from the 0.5th to the 99.5th percentile of each image"),
        ({"scheme": "none"}, "as stored"),
    ],
)
def test_the_card_says_what_is_done_to_intensities_and_work_in_units_that_fit(tmp_path, how, words):
    preprocessing = PLAN.preprocessing.model_copy(update={"normalisation": (ChannelNormalisation(**how),)})
    plan = PLAN.model_copy(update={"preprocessing": preprocessing})
    save_model(tmp_path, ModelInfo(plan, training={"steps": 4, "pflop": 3e-05}), {0: weights_of(0)})
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    (line,) = [line for line in card.splitlines() if line.startswith(f"- Intensities: {PLAN.channels[0]}: ")]
    assert line.endswith(f"{words}.")
    assert "| computation | 30 GFLOP |" in card


@pytest.mark.parametrize(
    ("metrics", "is_told"),
    [({"dice": 0.1}, True), ({"headline": {"dice": 0.29}}, True), ({"dice": 0.31}, False), ({}, False)],
)
def test_the_card_of_a_poor_model_says_so(tmp_path, metrics, is_told):
    save_model(tmp_path, ModelInfo(PLAN, metrics=metrics), {0: weights_of(0)})
    assert ("not one to use as it is" in (tmp_path / "README.md").read_text(encoding="utf-8")) == is_told
