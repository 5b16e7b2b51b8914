"""Writes the reference part of the pages on settings, encoders, methods, augmentations and data sets, from the specs.

    python docs/generate.py [--check]

What stands between the two markers of a page is replaced; the prose around them is written by hand. With --check
nothing is written, and pages that are out of date are an error. Plugins are left out, so that pages do not depend on
what is installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from cryoreg import registry
from cryoreg.config.settings import FinetuneSettings, InputSettings, PretrainSettings, SplitSettings
from cryoreg.kinds import KINDS, Kind
from cryoreg.parameters import Parameter, describe
from cryoreg.simulation.settings import SceneSettings
from cryoreg.specs import SPEC_TYPES, EncoderSpec, MethodSpec, Spec, WeightsSpec
from cryoreg.testing.checks import checks_for, checks_of_all, checks_of_parts
from cryoreg_cli.describing import default_text

FOLDER = Path(__file__).parent
SETTINGS = FOLDER / "settings.md"
CONFORMANCE = FOLDER / "conformance.md"
START = "<!-- generated: by `make reference` from the specs; edit those, not this -->"
END = "<!-- end -->"
NONE = "–"
LASTING = ("encoder", "voxel size", "box", "density", "licence", "evaluated")
"""Facts of weights that stay when they are trained anew; `cryoreg show` has the others."""


def main() -> None:
    """Update the pages, or check that there is nothing to update."""
    new = {page_of(kind): updated(page_of(kind), reference(kind)) for kind in KINDS}
    new[SETTINGS] = updated(SETTINGS, settings())
    new[CONFORMANCE] = updated(CONFORMANCE, checks())
    stale = [page for page, text in new.items() if page.read_text("utf-8") != text]
    if "--check" in sys.argv[1:]:
        sys.exit("\n".join(f"{page} is out of date; run `make reference`" for page in stale) or 0)
    for page in stale:
        page.write_text(new[page], "utf-8")
        print(f"updated {page}")


def page_of(kind: Kind) -> Path:
    """Return the page on a kind of component."""
    return FOLDER / f"{registry.group_of(kind)}.md"


def updated(page: Path, blocks: Iterable[str]) -> str:
    """Return the text of a page with other blocks as its generated part."""
    before, start, rest = page.read_text("utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        sys.exit(f"{page} lacks a line `{START}` or `{END}`")
    return before + "\n\n".join([START, *blocks, END]) + after


def settings() -> Iterator[str]:
    """Yield the blocks on what is set beside the components: a section for each group of settings."""
    yield "## Reference"
    for title, model in {
        "`training`, of `cryoreg pretrain`": PretrainSettings,
        "`training`, of `cryoreg finetune`": FinetuneSettings,
        "`split`, of both": SplitSettings,
        "`input`, of both": InputSettings,
        "Scenes, of `cryoreg simulate`": SceneSettings,
    }.items():
        yield f"### {title}"
        yield parameters(describe(name, field) for name, field in model.model_fields.items())


def checks() -> Iterator[str]:
    """Yield the tables of the conformance kit's checks: those of every spec, and those of each kind."""
    common = [check.name for check in checks_of_all()]
    yield "## The checks"
    yield "### Every component"
    yield table([("check", "promise"), *((f"`{check.name}`", check.promise) for check in checks_of_all())])
    for kind in KINDS:
        own = [check for check in checks_for(SPEC_TYPES[kind]) if check.name not in common]
        yield f"### {registry.group_of(kind).capitalize()}"
        yield table([("check", "promise"), *((f"`{check.name}`", check.promise) for check in own)])
    yield "### Everything without a spec"
    yield table([("check", "promise"), *((f"`{check.name}`", check.promise) for check in checks_of_parts())])


def reference(kind: Kind) -> Iterator[str]:
    """Yield the blocks of a kind's reference: a table of all components, then a section for each."""
    builtins = [component for component in registry.components(registry.group_of(kind)) if component.builtin]
    specs = {component.name: component.complete_spec() for component in builtins}
    rows = [{"name": f"[`{name}`](#{name})", "what": spec.summary(), **facts(spec)} for name, spec in specs.items()]
    yield "## Reference"
    yield table([rows[0], *(each.values() for each in rows)])
    for name, spec in specs.items():
        yield from section(name, spec)


def facts(spec: type[Spec]) -> dict[str, str]:
    """Return what is good to know of a component before choosing it: column -> text."""
    if issubclass(spec, EncoderSpec):
        return {"boxes, voxels": boxes(spec)}
    if issubclass(spec, MethodSpec):
        plan = spec().view_plan()
        counts = {"whole views": plan.whole, "of these clean": plan.clean, "local views": plan.local}
        return {**{name: str(n or NONE) for name, n in counts.items()}, "labels": "yes" if spec.uses_labels else NONE}
    if issubclass(spec, WeightsSpec):
        return {name: spec.facts().get(name, NONE) for name in LASTING}
    required = [f"`{spec.kind}.{parameter.name}`" for parameter in spec.parameters() if parameter.required]
    return {"needs": ", ".join(required) or NONE} if spec.kind == "dataset" else {}


def boxes(spec: type[EncoderSpec]) -> str:
    """Say which boxes an encoder takes with its default hyper-parameters."""
    step = spec().box_step()
    if spec.check_box is not EncoderSpec.check_box:
        return "depends on its parameters"
    if spec.exact_box:
        return f"{spec.min_box} only"
    return f"multiples of {step}" if step > 1 else f"from {spec.min_box}"


def section(name: str, spec: type[Spec]) -> Iterator[str]:
    """Yield the blocks of one component's section."""
    yield f"### `{name}`"
    yield spec.summary()
    yield from (" ".join(paragraph.split()) for paragraph in spec.source().split("\n\n") if paragraph)
    if spec.kind != "weights":
        yield parameters(spec.parameters()) if spec.parameters() else "It has no parameters."


def parameters(described: Iterable[Parameter]) -> str:
    """Return the table of parameters."""
    return table([("name", "type", "default", "limits", "help"), *map(row, described)])


def row(parameter: Parameter) -> tuple[str, ...]:
    """Return a parameter's row."""
    default = "required" if parameter.required else f"`{default_text(parameter)}`"
    return f"`{parameter.name}`", f"`{parameter.type}`", default, parameter.limits, parameter.help


def table(rows: Iterable[Iterable[str]]) -> str:
    """Write rows, the first of which is the head, as a Markdown table."""
    head, *body = ([cell.replace("|", r"\|") for cell in row] for row in rows)
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *body))


if __name__ == "__main__":
    main()
