"""Names to components: clashes, broken plugins, unknown names, the allow-list."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cryoreg import registry
from cryoreg.errors import AmbiguousComponentError, BrokenComponentError, UnknownComponentError
from cryoreg.kinds import KINDS
from cryoreg.registry import discovery
from cryoreg.specs import SPEC_TYPES

Install = Callable[..., Path]
ENCODER = "[cryoreg.encoders]\n{name} = {module}_specs:Tiny\n"


def found(group: str) -> list[str]:
    return [c.qualified for c in registry.components(group)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_builtin_is_a_complete_documented_spec(kind: str, site: Path) -> None:
    components = [c for c in registry.components(registry.group_of(kind)) if c.builtin]
    assert components
    for component in components:
        owner, spec = registry.find_spec(kind, component.name)
        assert owner == component
        assert issubclass(spec, SPEC_TYPES[kind])
        assert spec.summary().endswith(".")
        assert all(parameter.help for parameter in spec.parameters())


def test_a_plugin_is_found_by_bare_and_by_qualified_name(fake_plugin: Install) -> None:
    fake_plugin("Nice-Plugin", ENCODER.format(name="tiny", module="nice_plugin"), version="2.3")
    component, spec = registry.find_spec("encoder", "tiny")
    assert (component.dist, component.version, component.builtin) == ("nice-plugin", "2.3", False)
    assert spec(weights="w").build() == "tiny"
    for name in ("nice-plugin:tiny", "Nice_Plugin:tiny"):
        assert registry.find("encoders", name) == component


def test_two_plugins_with_one_name_need_the_qualified_name(fake_plugin: Install) -> None:
    for dist in ("one", "two"):
        fake_plugin(dist, ENCODER.format(name="tiny", module=dist))
    with pytest.raises(AmbiguousComponentError, match="'one:tiny' or 'two:tiny'"):
        registry.find("encoders", "tiny")
    assert registry.find("encoders", "two:tiny").load().__module__ == "two_specs"
    assert [c.reference for c in registry.components("encoders") if not c.builtin] == ["one:tiny", "two:tiny"]


def test_a_plugin_never_takes_over_a_builtins_bare_name(fake_plugin: Install) -> None:
    fake_plugin("aaa", ENCODER.format(name="rb3d", module="aaa"))
    fake_plugin("zzz", ENCODER.format(name="rb3d", module="zzz"))
    assert registry.find("encoders", "rb3d").dist == "cryoreg"
    assert registry.find("encoders", "cryoreg:rb3d").dist == "cryoreg"
    assert registry.find("encoders", "zzz:rb3d").dist == "zzz"


def test_a_plugin_never_takes_over_a_qualified_name(fake_plugin: Install) -> None:
    fake_plugin("aaa", ENCODER.format(name="cryoreg:rb3d", module="aaa"))
    assert registry.find("encoders", "cryoreg:rb3d").dist == "cryoreg"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("rb3", "'rb3d'"), ("RB3D", "'rb3d'"), ("rb3d-fc", "'rb3d_fc'"), ("tinny", "'tiny'")],
)
def test_an_unknown_name_comes_with_suggestions(fake_plugin: Install, typed: str, meant: str) -> None:
    fake_plugin("one", ENCODER.format(name="tiny", module="one"))
    with pytest.raises(UnknownComponentError, match=rf"^unknown encoder '{typed}'; did you mean {meant}") as caught:
        registry.find("encoders", typed)
    assert "cryoreg list --kind encoder" in str(caught.value)


def test_a_name_unlike_any_other_gets_no_suggestion() -> None:
    with pytest.raises(UnknownComponentError, match=r"^unknown method 'xyzzy'; `cryoreg list"):
        registry.find("methods", "xyzzy")


def test_the_kinds_do_not_mix() -> None:
    with pytest.raises(UnknownComponentError, match="unknown method 'rb3d'"):
        registry.find("methods", "rb3d")


BROKEN = {
    "missing module": ("absent_module:Tiny", "ModuleNotFoundError: No module named 'absent_module'"),
    "missing object": ("bad_specs:Absent", "AttributeError: module 'bad_specs' has no attribute 'Absent'"),
    "wrong kind": ("bad_specs:Method", "bad_specs:Method is not a subclass of EncoderSpec"),
    "not a class": ("bad_specs:SPEC_TYPES", "bad_specs:SPEC_TYPES is not a subclass of EncoderSpec"),
    "a module": ("bad_specs", "bad_specs is not a subclass of EncoderSpec"),
    "abstract": ("bad_specs:Unfinished", "bad_specs:Unfinished does not implement build"),
    "malformed": ("not an entry point!", "BadEntryPoint: Couldn't parse entry point spec"),
}


@pytest.mark.parametrize(("target", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_with_version_and_reason(fake_plugin: Install, target: str, reason: str) -> None:
    fake_plugin("bad", f"[cryoreg.encoders]\nwonky = {target}\n", version="0.9")
    with pytest.raises(BrokenComponentError) as caught:
        registry.find_spec("encoder", "wonky")
    message = str(caught.value)
    assert message.startswith(f"encoder 'wonky' of bad 0.9 cannot be loaded: {reason}")
    assert message.endswith("update or uninstall bad")


RAISING = {
    "exception": "raise RuntimeError('two\\nlines')",
    "exit": "import sys; sys.exit(3)",
    "syntax": "def (:",
    "bad default": "from cryoreg.specs import *\nfrom pydantic import Field\nclass Tiny(EncoderSpec):\n"
    "    x: int = Field(default_factory=lambda: 1 / 0)\n    def build(self): pass",
}


@pytest.mark.parametrize("module", RAISING.values(), ids=RAISING)
def test_whatever_a_plugin_raises_is_one_line(fake_plugin: Install, module: str) -> None:
    fake_plugin("bad", ENCODER.format(name="wonky", module="bad"), module=module)
    with pytest.raises(BrokenComponentError, match=r"of bad 1\.0 cannot be loaded: ") as caught:
        registry.find("encoders", "wonky").spec()
    assert "\n" not in str(caught.value)


def test_a_field_that_pydantic_cannot_validate_is_broken_when_used(fake_plugin: Install) -> None:
    module = (
        "from cryoreg.specs import EncoderSpec\nclass Odd: pass\n"
        "class Tiny(EncoderSpec):\n    odd: Odd\n    def build(self): pass\n"
    )
    fake_plugin("bad", ENCODER.format(name="wonky", module="bad"), module=module)
    with pytest.raises(BrokenComponentError, match=r"bad 1\.0 cannot be loaded: PydanticSchemaGenerationError"):
        registry.find_spec("encoder", "wonky")


def test_a_broken_plugin_spoils_no_other(fake_plugin: Install) -> None:
    fake_plugin("bad", "[cryoreg.encoders]\nrb3d = absent:X\nwonky = absent:X\n")
    fake_plugin("one", ENCODER.format(name="tiny", module="one"))
    assert registry.find_spec("encoder", "rb3d")[0].builtin
    assert registry.find_spec("encoder", "tiny")[0].dist == "one"


def test_an_interrupt_passes_through(fake_plugin: Install) -> None:
    fake_plugin("slow", ENCODER.format(name="slow", module="slow"), module="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry.find("encoders", "slow").load()


ALL = ["cryoreg:rb3d", "cryoreg:rb3d_fc", "my-one:tiny", "two:tiny"]


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [(None, ALL), ("", ALL[:2]), (" , ", ALL[:2]), ("My.One", ALL[:3]), ("two, my_one", ALL), ("absent", ALL[:2])],
)
def test_allow_list(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch, allowed: str | None, expected: list[str]
) -> None:
    fake_plugin("my-one", ENCODER.format(name="tiny", module="my_one"))
    fake_plugin("two", ENCODER.format(name="tiny", module="two"))
    if allowed is not None:
        monkeypatch.setenv("CRYOREG_PLUGINS", allowed)
    assert [q for q in found("encoders") if q in ALL] == expected


def test_the_allow_list_settles_clashes_and_is_named_when_it_hides(
    fake_plugin: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    for dist in ("one", "two"):
        fake_plugin(dist, ENCODER.format(name="tiny", module=dist))
    monkeypatch.setenv("CRYOREG_PLUGINS", "two")
    assert registry.find("encoders", "tiny").qualified == "two:tiny"
    with pytest.raises(UnknownComponentError, match="'one:tiny': one offers it, but CRYOREG_PLUGINS leaves it out"):
        registry.find("encoders", "one:tiny")


def test_scans_once(fake_plugin: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugin("one", ENCODER.format(name="tiny", module="one"))
    scans: list[discovery.Scan] = []
    scan = discovery.scan
    monkeypatch.setattr(discovery, "scan", lambda: scans.append(scan()) or scans[-1])
    for group in ("encoders", "methods", "encoders"):
        registry.components(group)
    registry.problems()
    registry.find("encoders", "tiny")
    assert len(scans) == 1
    registry.refresh()
    registry.find("encoders", "tiny")
    assert len(scans) == 2


def test_components_are_sorted_by_name_and_package(fake_plugin: Install) -> None:
    for dist in ("zzz", "aaa"):
        fake_plugin(dist, f"[cryoreg.encoders]\nb = {dist}_specs:Tiny\na = {dist}_specs:Tiny\n")
    ours = [q for q in found("encoders") if not q.startswith("cryoreg:")]
    assert ours == ["aaa:a", "zzz:a", "aaa:b", "zzz:b"]


def test_problems_are_passed_on(fake_plugin: Install) -> None:
    file = fake_plugin("bad", b"\xff") / "entry_points.txt"
    assert [p.file for p in registry.problems()] == [str(file)]
    assert "cryoreg:rb3d" in found("encoders")
