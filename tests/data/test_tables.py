"""Tables of cases: every way in which people write them is read, and what is wrong is named with its line."""

import csv
import io as text_io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.config.schema import DataConfig
from medseg.core.errors import InputError, UsageError
from medseg.core.labels import Labels
from medseg.data.dataset import Case, safe_id
from medseg.data.layouts import open_dataset
from medseg.data.layouts.rows import line_of, parsed
from medseg.data.layouts.table import open_table, written
from medseg.data.splits import make_splits
from medseg.io import ReadOptions
from tests.data.folders import declare, put_image, put_labels, touch


def make_files(root, n=3):
    for number in range(n):
        put_image(root / f"scans/c_{number}.nii.gz", seed=number)
        put_labels(root / f"masks/c_{number}.nii.gz")
    return root


def opened(root, text, name="cases.csv", **config):
    (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return open_dataset(root, DataConfig(**config))


def rows(root, n=3, extra=lambda number: "", header=""):
    make_files(root, n)
    lines = [f"c_{n},scans/c_{n}.nii.gz,masks/c_{n}.nii.gz{extra(n)}" for n in range(n)]
    return "\n".join([f"case,image,label{header}", *lines]) + "\n"


def test_a_table_in_a_folder_is_the_data_set_and_comes_first(tmp_path):
    dataset = opened(tmp_path, rows(tmp_path))
    assert (dataset.layout, dataset.ids, dataset.channels) == ("table", ("c_0", "c_1", "c_2"), ("image",))
    assert dataset.notes[0] == "Layout table: cases.csv lists the cases."
    assert dataset.cases[0].label == tmp_path / "masks/c_0.nii.gz"


def test_a_table_may_be_given_itself_whatever_it_is_called(tmp_path):
    (tmp_path / "mine.tsv").write_text(rows(tmp_path).replace(",", "\t"))
    dataset = open_dataset(tmp_path / "mine.tsv", DataConfig())
    assert (dataset.root, len(dataset.cases)) == (tmp_path, 3)


def test_a_table_of_something_else_is_none(tmp_path):
    make_files(tmp_path)
    (tmp_path / "scans").rename(tmp_path / "images")
    assert opened(tmp_path, "patient,age\n1,50\n", name="dataset.csv").layout == "paired"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace(",", ";").encode(),
        lambda text: text.replace(",", "\t").encode(),
        lambda text: text.replace(",", "\t").encode("utf-16"),
        lambda text: ("sep=;\r\n" + text.replace(",", ";").replace("\n", "\r\n")).encode(),
        lambda text: text.replace("\n", ",,,\r\n").encode(),
        lambda text: text.replace(",", " , ").encode(),
        lambda text: text.replace("case,", "CASE,").replace("image", "Image").encode(),
        lambda text: ("\n# a remark\n" + text + ",,\n\n").encode(),
        lambda text: "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in text.split()).encode(),
        lambda text: text.replace("/", "\\").encode(),
        lambda text: ("," + text.replace("\nc_", "\n7,c_")).encode(),
    ],
    ids=[
        "mark",
        "semicolons",
        "tabs",
        "utf-16",
        "sep",
        "empty columns",
        "blanks",
        "case",
        "remarks",
        "quotes",
        "\\",
        "index",
    ],
)
def test_the_habits_of_spreadsheets_are_understood(tmp_path, change):
    plain = opened(tmp_path, rows(tmp_path)).cases
    assert opened(tmp_path, change(rows(tmp_path))).cases == plain


def test_all_missing_files_are_listed_at_once_with_their_lines(tmp_path):
    text = rows(tmp_path).replace("scans/c_0", "scans/x").replace("masks/c_2", "masks/y") + "d,,\n"
    with pytest.raises(InputError) as refused:
        opened(tmp_path, text)
    for part in (
        "line 2: there is no scans/x.nii.gz (image)",
        "line 4: there is no masks/y.nii.gz (label)",
        "line 5: no image",
    ):
        assert part in str(refused.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("case,imgae,label", "did you mean 'image'"),
        ("case,image,lable", "a column 'lable'; did you mean 'label'"),
        ("case,image,image", "two columns called 'image'"),
        ("case,image,image_2,image_t1", "numbers some images and names others"),
    ],
)
def test_a_wrong_column_is_answered_with_the_right_one(tmp_path, header, message):
    with pytest.raises(InputError, match=message):
        opened(tmp_path, rows(tmp_path).replace("case,image,label", header))


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        ("fold", "two", "line 2: fold is 'two', but must be a number from 0 on"),
        ("split", "maybe", "line 2: split is 'maybe', but must be train, validation or test"),
        ("read.volum", "1", "line 2: 'volum' is no key of --read; did you mean 'volume'"),
        ("read", "missing=perhaps", "line 2: --read missing=perhaps is not allowed"),
    ],
)
def test_a_wrong_cell_is_named_with_its_line(tmp_path, column, cell, message):
    with pytest.raises(InputError, match=message):
        opened(tmp_path, rows(tmp_path, extra=lambda n: f",{cell}", header=f",{column}"))


def test_a_row_with_more_cells_than_the_header_is_named(tmp_path):
    with pytest.raises(InputError, match="line 3: there are 4 cells, but the header has 3"):
        opened(tmp_path, rows(tmp_path, extra=lambda n: ",more" if n == 1 else ""))


def test_two_rows_of_one_case_are_named_with_both_lines(tmp_path):
    with pytest.raises(InputError, match="lines 2 and 3 are both the case 'c_0'"):
        opened(tmp_path, rows(tmp_path).replace("c_1,", "c_0,"))


def test_two_rows_whose_names_differ_only_in_case_are_one_case(tmp_path):
    with pytest.raises(InputError, match="lines 2 and 3 are both the case 'C_0'"):
        opened(tmp_path, rows(tmp_path).replace("c_1,", "C_0,"))


def test_channels_are_numbered_or_named_and_a_row_that_lacks_one_is_a_problem(tmp_path):
    make_files(tmp_path)
    scan, mask = "scans/c_{}.nii.gz", "masks/c_{}.nii.gz"
    line = ",".join(["c_{}", scan, scan, mask])
    numbered = opened(tmp_path, "case,image_2,image_1,label\n" + line.format(*"0120") + "\n")
    assert numbered.channels == ("channel 0", "channel 1")
    assert [path.name for path in numbered.cases[0].images] == ["c_2.nii.gz", "c_1.nii.gz"]
    named = opened(tmp_path, f"case,image_T1,image_pet,label\n{line.format(*'0120')}\nc_1,{scan.format(1)},,\n")
    assert named.channels == ("T1", "pet")
    assert [problem.reason for problem in named.problems] == ["Case c_1 lacks image_pet (line 3)."]


def test_splits_folds_and_groups_are_taken_along(tmp_path):
    who = ["train,a", "validation,b", "test,c", "train,a"]
    dataset = opened(tmp_path, rows(tmp_path, 4, lambda n: f",{who[n]}", ",split,group"))
    assert dataset.ids == ("c_0", "c_1", "c_3")
    assert [(case.id, case.label is not None) for case in dataset.unlabelled] == [("c_2", True)]
    splits = make_splits(dataset, 5, 0)
    assert [part.validation for part in splits.folds] == [("c_1",)]
    assert splits.folds[0].train == ("c_0", "c_3")


def test_folds_that_divide_a_group_are_refused_by_name(tmp_path):
    text = rows(tmp_path, extra=lambda n: f",{n % 2},patient 7", header=",fold,group")
    with pytest.raises(InputError, match=r"1 groups are in training and in validation: patient 7"):
        make_splits(opened(tmp_path, text), 5, 0)


def test_any_column_can_be_the_group_and_a_misspelt_one_is_answered(tmp_path):
    text = rows(tmp_path, extra=lambda n: f",hospital {n // 2}", header=",site of scan")
    assert [c.group for c in opened(tmp_path, text, group="site of scan").cases] == ["hospital 0"] * 2 + ["hospital 1"]
    with pytest.raises(UsageError, match='did you mean "site of scan"'):
        opened(tmp_path, text, group="site of scam")


def test_a_group_that_is_trained_on_and_tested_is_told(tmp_path):
    text = rows(tmp_path, extra=lambda n: f",p,{'test' if n == 2 else ''}", header=",group,split")
    assert any("1 groups are trained on and kept for testing: p" in note for note in opened(tmp_path, text).notes)


def test_read_options_of_a_case_come_from_three_kinds_of_column(tmp_path):
    options = [",overlaps=a b,c; missing=fill,,", ",,ras,", ",,,1.2.3"]
    options[0] = ',"overlaps=a b,c; missing=fill",,'
    dataset = opened(tmp_path, rows(tmp_path, extra=options.__getitem__, header=",read,read.space,series"))
    assert [dict(case.read) for case in dataset.cases] == [
        {"overlaps": "a b,c", "missing": "fill"},
        {"space": "ras"},
        {"series": "1.2.3"},
    ]


def test_a_column_for_each_structure_and_a_folder_of_masks_give_named_labels(tmp_path):
    make_files(tmp_path)
    for name in ("liver", "left kidney"):
        put_labels(tmp_path / f"organs/{name}.nii.gz", values=(1,))
    text = (
        "case,image,label,label_Liver,label_left kidney\n"
        "a,scans/c_0.nii.gz,,organs/liver.nii.gz,organs/left kidney.nii.gz\n"
        "b,scans/c_1.nii.gz,organs,,\n"
        "c,scans/c_2.nii.gz,,organs/liver.nii.gz,\n"
    )
    a, b, c = (case.label for case in opened(tmp_path, text).cases)
    assert (list(a), list(b), list(c)) == (["Liver", "left kidney"], ["left kidney", "liver"], ["Liver"])
    with pytest.raises(InputError, match="a label and a label_Liver; give one of both"):
        opened(tmp_path, text.replace("b,scans/c_1.nii.gz,organs,,", "b,scans/c_1.nii.gz,organs,organs/liver.nii.gz,"))


def test_labels_beside_a_table_are_declared_by_a_dataset_json_or_the_configuration(tmp_path):
    text = rows(tmp_path)
    declare(tmp_path, labels={"front": 1, "back": 2})
    assert opened(tmp_path, text).labels == Labels({"front": (1,), "back": (2,)})
    (tmp_path / "dataset.json").unlink()
    assert opened(tmp_path, text, labels={"x": 1, "y": 2}).labels == Labels({"x": (1,), "y": (2,)})


def test_what_is_no_scan_is_named_with_its_line(tmp_path):
    text = rows(tmp_path).replace("scans/c_1.nii.gz", "notes.txt")
    touch(tmp_path / "notes.txt")
    with pytest.raises(InputError, match=r"line 3: notes\.txt is no scan that medseg reads \(image\)"):
        opened(tmp_path, text)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters='\0/\\\r\n\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e"'),
    min_size=1,
    max_size=9,
)
CELLS = NAMES.map(str.strip).filter(bool)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), min_size=1, max_size=4), st.sampled_from(",;\t"))
def test_rows_come_back_as_they_were_written(tmp_path_factory, cells, delimiter):
    buffer = text_io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([["one", "two"], *cells])
    path = tmp_path_factory.mktemp("table") / "t.csv"
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    header, found = parsed(path)
    assert header == ["one", "two"]
    assert [[row.cells["one"], row.cells["two"]] for row in found] == cells


def facts(case):
    return case.images, case.label, case.group, dict(case.read)


@given(st.lists(CELLS.map(safe_id).filter(lambda n: n == n.strip()), min_size=1, max_size=4, unique_by=str.casefold))
def test_a_written_table_opens_as_the_cases_that_it_was_written_of(tmp_path_factory, names):
    root = tmp_path_factory.mktemp("set")
    cases = []
    for number, name in enumerate(names):
        image, label = root / f"i {number},.png", root / f"#{number};'.png"
        touch(image)
        touch(label)
        read = {"volume": "1"} if number % 2 else {}
        cases.append(Case(name, (image,), label if number % 3 else {"a b": label}, f"g{number % 2}", read=read))
    path = root / "cases.csv"
    path.write_text(written(cases, ("image",), root, cases[:1]), encoding="utf-8")
    found = open_table(path, ReadOptions())
    assert {each.id: facts(each) for each in found.cases} == {each.id: facts(each) for each in cases}


def test_a_line_is_quoted_where_it_must_be():
    assert line_of(["a;b", "c,d"]) == 'a;b,"c,d"'


@pytest.mark.parametrize("name", ["=c", "-c", "+c", "@c", "'=c", "c"])
def test_a_ready_table_begins_no_formula_and_is_read_back(tmp_path, name):
    line = line_of([name, f"{name}/i.nii.gz", "m.nii.gz"])
    assert not line.startswith(("=", "-", "+", "@"))
    (tmp_path / "cases.csv").write_text(f"case,image,label\n{line}\n", encoding="utf-8")
    (row,) = parsed(tmp_path / "cases.csv")[1]
    assert row.cells == {"case": name, "image": f"{name}/i.nii.gz", "label": "m.nii.gz"}
