"""From preset, file and overrides to a configuration; every mistake is one line, tested by its text."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.config.load import config_to_yaml, list_presets, load_config, preset_path
from medseg.config.schema import (
    AugmentationConfig,
    Config,
    DataConfig,
    LabelConfig,
    NetworkConfig,
    PlanConfig,
    TrainingConfig,
)
from medseg.core.errors import UsageError
from medseg.core.labels import Labels


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "my.yaml"
        path.write_text(text, "utf-8")
        return path

    return write


def error_of(source, overrides=()):
    with pytest.raises(UsageError) as caught:
        load_config(source, overrides)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def test_nothing_said_is_the_defaults():
    assert load_config(None) == Config()


def test_later_wins_default_then_file_then_overrides_in_order(write):
    path = write("training:\n  epochs: 5\n  ema: 0.9\nseed: 3\n")
    config = load_config(path, ["training.epochs=7", "training.epochs=8"])
    assert (config.training.epochs, config.training.ema, config.seed) == (8, 0.9, 3)
    assert config.training.momentum == Config().training.momentum


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.learning_rate=1e-3", "training", "learning_rate", 0.001),
        ("training.learning_rate=null", "training", "learning_rate", None),
        ("plan.patch=[40, 56, 40]", "plan", "patch", (40, 56, 40)),
        ("network.strides=[[1, 1], [2, 2]]", "network", "strides", ((1, 1), (2, 2))),
        ("network.residual=true", "network", "residual", True),
        (r"data.group=^(ms\d+)", "data", "group", r"^(ms\d+)"),
        ("data.group=7", "data", "group", "7"),
        ("data.group=block:5", "data", "group", "block:5"),
        ("data.read.volume=0", "data", "read", {"volume": "0"}),
        ("data.read={space: lps}", "data", "read", {"space": "lps"}),
        ("augmentation.mirror_axes=auto", "augmentation", "mirror_axes", "auto"),
        ("augmentation.mirror_axes=[0]", "augmentation", "mirror_axes", (0,)),
    ],
)
def test_an_override_is_a_value_of_yaml(override, section, key, value):
    assert getattr(getattr(load_config(None, [override]), section), key) == value


def test_an_override_inside_a_mapping_keeps_what_the_file_says(write):
    path = write("data:\n  read:\n    space: lps\n")
    assert load_config(path, ["data.read.volume=1"]).data.read == {"space": "lps", "volume": "1"}


def test_a_section_of_comments_and_an_empty_file_say_nothing(write):
    assert load_config(write("training:\n  # epochs: 5\n")) == Config()
    assert load_config(write("")) == Config()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "training:\n  learnig_rate: 1",
            "training.learnig_rate is no key of the configuration. Did you mean training.learning_rate?",
        ),
        (
            "training:\n  dropout: 0.1",
            "training.dropout is no key of the configuration. Did you mean network.dropout?",
        ),
        ("learning_rate: 1", "learning_rate is no key of the configuration. Did you mean training.learning_rate?"),
        ("trainig:\n  epochs: 1", "trainig is no key of the configuration. Did you mean training?"),
        (
            "stage: 3\nnormalization: none",
            "stage is no key of the configuration. Did you mean network.stages?",
        ),
        (
            "network:\n  normalization: none",
            "network.normalization is no key of the configuration. "
            "Did you mean plan.normalisation or network.normalisation?",
        ),
        (
            "xyzzy: 1",
            "xyzzy is no key of the configuration. "
            "The sections are data, plan, network, training, augmentation, prediction, seed.",
        ),
        (
            "prediction:\n  xyzzy: 1",
            "prediction.xyzzy is no key of the configuration. The keys of prediction are overlap.",
        ),
        ("prediction: 1", "prediction is 1, but it is a section with the keys overlap."),
        ("training:\n  optimizer: adam", "training.optimizer is 'adam', but must be adamw or sgd. Did you mean adamw?"),
        (
            "training:\n  learning_rate: fast",
            "training.learning_rate is 'fast', but must be a number > 0 and ≤ 10, or null.",
        ),
        ("training:\n  learning_rate: 11", "training.learning_rate is 11, but must be a number > 0 and ≤ 10, or null."),
        ("training:\n  workers: 2.5", "training.workers is 2.5, but must be a whole number ≥ 0 and ≤ 64."),
        ("training:\n  epochs: 0", "training.epochs is 0, but must be a whole number ≥ 1 and ≤ 1000000, or null."),
        ("network:\n  name: unett", "Did you mean unet?"),
        ("network:\n  upsample: null", "network.upsample is null, but must be transposed, nearest or linear."),
        (
            "network:\n  strides: [[1, 2], [a]]",
            "network.strides is [[1, 2], ['a']], but must be a list of lists of whole numbers or null.",
        ),
        ("plan:\n  dimensions: 4", "plan.dimensions is 4, but must be auto, 2 or 3."),
        ("plan:\n  patch: 40", "plan.patch is 40, but must be a list of whole numbers ≥ 1 and ≤ 4096 or null."),
        (
            "augmentation:\n  mirror_axes: none",
            "augmentation.mirror_axes is 'none', but must be a list of whole numbers or auto.",
        ),
        ("augmentation:\n  gamma_range: 3", "augmentation.gamma_range is 3, but must be a list of 2 numbers."),
        ("augmentation:\n  gamma_range: [2, 1]", "augmentation.gamma_range is [2.0, 1.0], but a range ascends."),
        ("network:\n  residual: maybe", "network.residual is 'maybe', but must be true or false."),
        ("plan:\n  spacing_mm: [0, 1, 1]", "plan.spacing_mm is [0, 1, 1], but must be a list of numbers > 0 or null."),
        ("data:\n  read: 3", "data.read is 3, but must be KEY: VALUE pairs of text."),
        ("seed: -1", "seed is -1, but must be a whole number ≥ 0 and < 4294967296."),
        ("- 1", "a configuration is made of sections such as 'training:', but this is not."),
    ],
)
def test_a_mistake_in_a_file_is_one_line_with_file_key_value_and_what_is_right(write, text, sentence):
    path = write(text)
    message = error_of(path)
    assert message.startswith(f"{path}: ")
    assert message.endswith(sentence)


def test_broken_yaml_is_told_with_its_line(write):
    path = write("seed: 1\ntraining: [1\n")
    expected = "this is not valid YAML: while parsing a flow sequence, expected ',' or ']', but got '<stream end>'."
    assert error_of(path) == f"{path}, line 3: {expected}"


def test_a_key_that_is_there_twice_is_refused_with_its_line(write):
    path = write("training:\n  epochs: 1\n  ema: 0.9\n  epochs: 2\n")
    assert error_of(path) == f"{path}, line 4: this is not valid YAML: the key 'epochs' is there twice."


def test_yaml_that_would_run_code_is_refused(write):
    message = error_of(write("seed: !!python/object/apply:os.getpid []"))
    assert "could not determine a constructor" in message


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "scan.yaml"
    path.write_bytes(b"\x1f\x8b\xff\xfe")
    assert error_of(path) == f"{path}: this is not text in UTF-8, so it is no configuration."


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "training.lerning_rate=1",
            "training.lerning_rate is no key of the configuration. Did you mean training.learning_rate?",
        ),
        (
            "network.upsample=liner",
            "network.upsample is 'liner', but must be transposed, nearest or linear. Did you mean linear?",
        ),
        ("training.epochs=many", "training.epochs is 'many', but must be a whole number ≥ 1 and ≤ 1000000, or null."),
        ("training.epochs", "write KEY=VALUE, such as training.learning_rate=1e-3; no value is null."),
        ("training.epochs=", "write KEY=VALUE, such as training.learning_rate=1e-3; no value is null."),
        ("=3", "write KEY=VALUE, such as training.learning_rate=1e-3; no value is null."),
        ("prediction=3", "prediction is 3, but it is a section with the keys overlap."),
    ],
)
def test_a_mistake_in_an_override_names_the_override(override, sentence):
    assert error_of("unet3d", ["seed=1", override]) == f"--set {override}: {sentence}"


def test_an_unknown_preset_is_answered_with_the_nearest_and_all_names():
    names = ", ".join(list_presets())
    assert (
        error_of("unet-clasic") == f"There is no preset 'unet-clasic'. Did you mean unet-classic? Presets are {names}."
    )


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    missing = tmp_path / "no.yaml"
    assert error_of(missing).startswith(
        f"The configuration file {missing} does not exist. Give a YAML file, or a preset:"
    )
    assert error_of(tmp_path).startswith(f"The configuration file {tmp_path} is a folder.")


def test_presets_are_listed_with_their_purpose():
    presets = list_presets()
    assert {"unet2d", "unet3d", "unet-classic", "dynunet"} <= set(presets)
    assert (
        presets["unet3d"]
        == "U-Net for volumes: max pooling, transposed convolutions; the plan sets sizes from the data"
    )
    assert all(len(purpose) > 20 for purpose in presets.values())


@pytest.mark.parametrize("name", list_presets())
def test_every_preset_is_a_configuration_with_a_purpose_in_its_first_line(name):
    assert preset_path(name).read_text("utf-8").startswith("# ")
    assert load_config(name) == load_config(preset_path(name))
    assert load_config(name) != Config()


def test_what_presets_promise():
    for name in ("unet2d", "unet3d", "unet-classic"):
        network = load_config(name).network
        assert (network.name, network.downsample, network.upsample) == ("unet", "maxpool", "transposed")
    classic = load_config("unet-classic").network
    assert (classic.features, classic.normalisation) == ((64, 128, 256, 512, 1024), "none")


def test_labels_are_declared_by_a_number_a_list_or_all_their_keys(write):
    path = write(
        "data:\n  labels:\n    background: 0\n    liver: 1\n    whole: [1, 2]\n    ignore: 255\n"
        "    cyst: {value: 3, code: 367643001, meaning: Cyst, category: abnormality, color: [250, 0, 10]}\n"
    )
    data = load_config(path).data
    assert data.declared_labels == Labels({"liver": (1,), "whole": (1, 2), "cyst": (3,)}, ignore=255)
    assert data.labels["cyst"].code == "367643001"
    assert data.labels["cyst"].color == (250, 0, 10)


def test_labels_without_values_declare_no_values():
    assert load_config(None, ["data.labels.liver={color: [1, 2, 3]}"]).data.declared_labels is None


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("data.labels.cyst={cod: 1}", "data.labels.cyst has no key cod. Did you mean code? Its keys are value, code,"),
        ("data.labels.cyst=0", "data.labels.cyst is 0, but must be a whole number ≥ 1 and ≤ 65535, a list"),
        (
            "data.labels.cyst.color=[1, 2, 300]",
            "data.labels.cyst.color is [1, 2, 300], but must be a list of 3 numbers",
        ),
        ("data.labels.cyst={code: 1}", "data.labels.cyst: code and meaning belong together"),
        ("data.labels.cyst.category=organ", "is 'organ', but must be anatomy, tissue, abnormality or null"),
        ("data.labels=3", "data.labels is 3, but must be names, each with a value or with keys of its own"),
    ],
)
def test_a_wrong_label_is_named_with_its_key(override, sentence):
    assert sentence in error_of(None, [override])


def test_a_key_below_a_plain_value_is_refused():
    assert "cyst is 1 already" in error_of(None, ["data.labels.cyst=1", "data.labels.cyst.side=left"])


axes = st.tuples(*[st.integers(1, 5)] * 3)
label_configs = st.builds(
    LabelConfig,
    value=st.none() | st.integers(1, 65_535) | st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple),
    side=st.none() | st.just("left"),
    color=st.none() | st.tuples(*[st.integers(0, 255)] * 3),
)
configs = st.builds(
    Config,
    data=st.builds(
        DataConfig,
        group=st.none()
        | st.text(max_size=8)
        | st.sampled_from(["1e-3", "yes", "null", "010", "~", "1:30", "2026-11-25"]),
        read=st.dictionaries(st.text("abc", min_size=1), st.text(max_size=5), max_size=2),
        labels=st.dictionaries(st.text("ab 1", min_size=1), label_configs, max_size=2),
    ),
    plan=st.builds(PlanConfig, spacing_mm=st.none() | st.tuples(*[st.floats(1e-9, 1e9)] * 3), patch=st.none() | axes),
    network=st.builds(NetworkConfig, strides=st.none() | st.lists(axes, max_size=3).map(tuple)),
    augmentation=st.builds(AugmentationConfig, mirror_axes=st.just("auto") | st.just((0, 1)) | st.just(())),
    training=st.builds(TrainingConfig, learning_rate=st.none() | st.floats(1e-30, 10, exclude_min=True)),
    seed=st.integers(0, 2**32 - 1),
)


@given(configs)
def test_a_configuration_is_read_back_as_it_was_written(tmp_path_factory, config):
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(config_to_yaml(config), "utf-8", newline="")
    assert load_config(path) == config


def test_a_written_configuration_is_easy_to_read():
    text = config_to_yaml(load_config(None, ["plan.patch=[8, 8, 8]"]))
    assert "plan:\n  dimensions: auto\n  spacing_mm: null\n  patch: [8, 8, 8]\n" in text


def test_configurations_load_without_torch():
    code = "import sys; from medseg.config import load; load.load_config('unet3d'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(
    "override",
    [
        "training.epochs=" + "9" * 400,
        "training.epochs=" + "9" * 5000,
        "training.clip_norm=.inf",
        "training.learning_rate=1e400",
        "augmentation.gamma_range=[0, .nan]",
        "plan.spacing_mm=[1, .inf, 1]",
        "plan.batch=" + "9" * 400,
        "seed=" + "9" * 30,
    ],
)
def test_numbers_beyond_all_bounds_are_refused_in_a_line(override):
    with pytest.raises(UsageError) as caught:
        load_config(None, [override])
    assert override.partition("=")[0] in str(caught.value)
