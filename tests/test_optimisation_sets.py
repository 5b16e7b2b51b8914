from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import starfile
from support.tilt_stacks import write_set

from cryoreg.datasets.list_specs import TiltStackSpec
from cryoreg.datasets.tilt_stacks.files import find_files
from cryoreg.inference.optimisation_sets import new_sets, set_text, write_sets
from cryoreg.labelling.opening import export

ITEMS = """# made by hand
data_

_rlnTomoParticlesFile   particles.star # these
_rlnTomoTomogramsFile\ttomograms.star
_ours 'a b'
"""
LOOP = """data_optimisation_set

loop_
_rlnTomoTomogramsFile #1
_rlnTomoParticlesFile #2
tomograms.star  particles.star
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    made = write_set(tmp_path / "project" / "Extract" / "job001", particles=3)
    return made.path.parent


@pytest.mark.parametrize("text", [ITEMS, LOOP], ids=["items", "loop"])
def test_all_but_the_list_stays(text: str, project: Path) -> None:
    source = project / "set.star"
    source.write_text(text)
    assert set_text(source, project / "sub" / "new.star") == text.replace("particles.star", "sub/new.star")
    elsewhere = project.parents[3] / "new.star"
    expected = text.replace("particles.star", str(elsewhere)).replace("tomograms.star", str(project / "tomograms.star"))
    assert set_text(source, elsewhere) == expected


def test_names_of_relion_begin_in_its_project(project: Path) -> None:
    source, root = project / "optimisation_set.star", project.parents[1]
    named = {f"rlnTomo{what.title()}File": f"Extract/job001/{what}.star" for what in ("particles", "tomograms")}
    starfile.write({"": named}, source, overwrite=True)
    (root / "Select").mkdir()
    text = set_text(source, root / "Select" / "new.star")
    assert "Select/new.star" in text
    assert "Extract/job001/tomograms.star" in text
    assert str(root) not in text


def test_a_written_set_opens_as_a_set(project: Path) -> None:
    dataset = TiltStackSpec(root=project / "optimisation_set.star").load()
    output = project / "classified.star"
    output.write_bytes((project / "particles.star").read_bytes())
    assert new_sets(output, dataset) == [project / "classified_optimisation_set.star"]
    write_sets(output, dataset)
    found = find_files(new_sets(output, dataset)[0])
    assert (Path(found.particles), Path(found.tomograms)) == (output, project / "tomograms.star")
    assert len(TiltStackSpec(root=new_sets(output, dataset)[0]).load()) == 3


def test_labels_leave_as_a_set_too(project: Path) -> None:
    """`cryoreg label --export`: the list with classes, and the set that names it."""
    dataset = TiltStackSpec(root=project / "optimisation_set.star").load()
    labels, output = project / "labels.csv", project / "labelled.star"
    labels.write_text("id,class\nstacks/1_stack2d.mrcs,ribosome\n")
    trained = SimpleNamespace(dataset=dataset, inputs=lambda: {str(project / "particles.star")})
    assert export(trained, labels, output, overwrite=False) == 1  # type: ignore[arg-type]
    again = TiltStackSpec(root=new_sets(output, dataset)[0], label="cryoregClassName").load()
    assert [again.classes[label] if label is not None else None for label in again.labels] == [None, "ribosome", None]


@dataclass
class Listed:
    optimisation_set: str | None


def test_other_outputs_have_none() -> None:
    assert new_sets(Path("p.csv"), Listed("set.star")) == []  # type: ignore[arg-type]
    assert new_sets(Path("p.star"), Listed(None)) == []  # type: ignore[arg-type]
