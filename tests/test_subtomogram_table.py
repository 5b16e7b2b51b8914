"""Tables with a row for each subtomogram: one set of names, and values that come back."""

import csv
import io

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.synthetic import write_classes

import cryoreg
from cryoreg.datasets.readers.mrc_folder import MrcFolder
from cryoreg.inference.subtomogram_table import COLUMNS, csv_text, labels, places, write_csv, write_parquet

STRANGE = ["a", 'the "other"', "1,2", "two\nlines", "=1+1", "-x", "é\udcff", "'quoted'"]
SHOWN = [*STRANGE[:4], "'=1+1", "'-x", "é\\xff", "'quoted'"]


class Known:
    """Eight subtomograms; of the last no label, tomogram or row is known."""

    ids, classes, groups = STRANGE, ["=A", "B"], [*STRANGE[:7], None]
    labels = (0, 1, 0, 1, 0, 1, 0, None)

    def __len__(self):
        return 8

    def origin(self, index):
        return cryoreg.contracts.Origin(f"/data/{STRANGE[index]}.mrc", None if index == 7 else index)


def test_places_and_labels_come_back_from_csv():
    dataset = Known()
    rows = list(csv.DictReader(io.StringIO(csv_text({**places(dataset), **labels(dataset)}), newline="")))
    assert [row["id"] for row in rows] == SHOWN
    assert [row["tomogram"] for row in rows] == [*SHOWN[:7], ""]
    assert [row["row"] for row in rows] == [*map(str, range(7)), ""]
    assert rows[6]["file"] == "/data/é\\xff.mrc"
    assert [row["label"] for row in rows] == ["'=A", "B", "'=A", "B", "'=A", "B", "'=A", ""]
    assert [row["id"] for row in csv.DictReader(io.StringIO(csv_text(places(dataset, [7, 0]))))] == ["'quoted'", "a"]


def test_where_a_set_does_not_know_its_files_cells_are_empty():
    class Unknown(Known):
        def origin(self, index):
            return None

    rows = list(csv.DictReader(io.StringIO(csv_text(places(Unknown())))))
    assert {(row["file"], row["row"]) for row in rows} == {("", "")}


def test_csv_and_parquet_hold_the_same_with_types():
    columns = {**places(Known()), **labels(Known()), "confidence": [i / 7 for i in range(8)], "cluster": [*range(8)]}
    streams = io.BytesIO(), io.BytesIO()
    write_csv(columns, streams[0])
    write_parquet(columns, streams[1], {b"key": b"value"})
    for stream in streams:
        stream.seek(0)
    schema = pq.read_schema(streams[1])
    types = {name: str(schema.field(name).type) for name in columns}
    assert types == dict.fromkeys(columns, "string") | {"row": "int64", "cluster": "int64", "confidence": "double"}
    assert schema.metadata[b"key"] == b"value"
    one, other = pd.read_csv(streams[0]), pd.read_parquet(streams[1])
    assert other["id"].tolist() == [*STRANGE[:6], "é\\xff", "'quoted'"]
    np.testing.assert_allclose(one["confidence"], other["confidence"])
    assert one["row"].tolist()[:7] == other["row"].tolist()[:7] == list(range(7))
    assert other["row"].isna().tolist() == [False] * 7 + [True]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    root = write_classes(folder / "data", classes=2, per_class=10)
    cryoreg.finetune(
        folder / "run",
        encoder={"name": "rb3d", "width": 4},
        dataset={"name": "mrc_folder", "root": root},
        **{"epochs": 1, "device": "cpu", "batch_size": 4, "workers": 0},
    )
    return folder / "run"


@pytest.mark.slow
def test_every_command_writes_the_same_names_in_the_same_order(run, tmp_path):
    from click.testing import CliRunner

    from cryoreg_cli.main import cryoreg as command

    written = {"evaluate": run / "predictions_test.csv"}
    cryoreg.evaluate(run, device="cpu")
    for name, options in (("predict", []), ("embed", []), ("cluster", ["--clusters", "2"])):
        written[name] = tmp_path / f"{name}.csv"
        result = CliRunner().invoke(command, [name, str(run), "--output", str(written[name]), *options])
        assert result.exit_code == 0, result.output
    dataset = MrcFolder(run.parent / "data")
    for name, path in written.items():
        table = pd.read_csv(path)
        known = [c for c in table if c not in ("p_class0", "p_class1") and not c[1:].isdigit()]
        assert [column for column in COLUMNS if column in known] == [c for c in table if c in COLUMNS], name
        assert set(known) <= set(COLUMNS), name
        index = {each: place for place, each in enumerate(dataset.ids)}
        for row in table.itertuples():
            place = index[row.id]
            assert (row.file, row.label) == (dataset.origin(place).file, dataset.classes[dataset.labels[place]]), name
