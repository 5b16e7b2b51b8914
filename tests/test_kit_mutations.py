"""The kit's own test: sound plugins pass every check, and a plugin with one fault fails exactly one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.broken_heavy_specs import Heavy
from support.broken_specs import FAULTY, FAULTY_SPECS, SOUND, SoundDataset, SoundEncoder

from cryoreg.specs import SPEC_TYPES, Spec
from cryoreg.testing import checks_for, fake_plugin, run_checks

CLASHING = """
from support.broken_specs import SoundEncoder


class {name}(SoundEncoder):
    \"\"\"One of two with a name.

    Written for this test.
    \"\"\"
"""


def instance(spec: type[Spec], folder: Path) -> Spec:
    """Return a spec; that of a data set opens a file of its own."""
    if not issubclass(spec, SoundDataset):
        return spec()
    root = folder / "volumes.npy"
    np.save(root, np.random.default_rng(0).standard_normal((6, 4, 5, 6)).astype(np.float32))
    return spec(root=root)


def failures(spec: Spec) -> dict[str, str]:
    return {result.check.name: result.message for result in run_checks(spec) if result.outcome == "failed"}


def assert_only(name: str, failed: dict[str, str]) -> None:
    """The check says in one line what is wrong, and what to change."""
    assert list(failed) == [name], failed
    assert "\n" not in failed[name]
    assert "; " in failed[name], "no word on what to do"


@pytest.mark.slow
@pytest.mark.parametrize("spec", SOUND)
def test_a_sound_plugin_passes_every_check(spec: type[Spec], tmp_path: Path) -> None:
    assert failures(instance(spec, tmp_path)) == {}


CASES = [(check, spec) for (_, check), spec in FAULTY.items()]


@pytest.mark.slow
@pytest.mark.parametrize(("check", "spec"), CASES, ids=[spec.part for _, spec in CASES])
def test_a_faulty_part_is_caught_by_its_check_alone(check: str, spec: type[Spec], tmp_path: Path) -> None:
    assert_only(check, failures(instance(spec, tmp_path)))


@pytest.mark.parametrize(("check", "spec"), FAULTY_SPECS.items(), ids=FAULTY_SPECS)
def test_a_faulty_spec_is_caught_by_its_check_alone(check: str, spec: Spec) -> None:
    assert_only(check, failures(spec))


@pytest.mark.slow
def test_a_heavy_import_is_caught_by_its_check_alone() -> None:
    failed = failures(Heavy())
    assert_only("check_spec_imports_light", failed)
    assert "importing support.broken_heavy_specs imports numpy" in failed["check_spec_imports_light"]


@pytest.mark.slow
def test_a_clash_of_names_is_caught_by_its_check_alone(tmp_path: Path) -> None:
    with (
        fake_plugin(tmp_path / "1", "one-plugin", **plugin("one", "One")),
        fake_plugin(tmp_path / "2", "two-plugin", **plugin("two", "Two")),
    ):
        import one_specs

        failed = failures(one_specs.One())
    assert_only("check_name_clashes_with_no_other", failed)
    assert "two-plugin offers 'net' as well" in failed["check_name_clashes_with_no_other"]


def plugin(module: str, name: str) -> dict:
    target = f"[cryoreg.encoders]\nnet = {module}_specs:{name}\n"
    return {"entry_points": target, "modules": {f"{module}_specs": CLASHING.format(name=name)}}


def test_every_check_has_a_fault_that_it_catches() -> None:
    known = {(kind, check.name) for kind in SPEC_TYPES for check in checks_for(SOUND_OF[kind])}
    shown = {(sound.kind, check) for sound, check in FAULTY}
    everywhere = {*FAULTY_SPECS, "check_spec_imports_light", "check_name_clashes_with_no_other"}
    assert {check for kind, check in known if (kind, check) not in shown} == everywhere


SOUND_OF = {spec.kind: spec for spec in SOUND}


def test_faults_have_names_of_their_own() -> None:
    assert len({spec.__name__ for spec in FAULTY.values()}) == len(FAULTY)
    assert all(issubclass(spec, SoundEncoder) for spec in map(type, FAULTY_SPECS.values()))
