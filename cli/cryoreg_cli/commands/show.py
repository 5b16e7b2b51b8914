"""`cryoreg show`: one component and its parameters."""

from __future__ import annotations

import click

from cryoreg import registry
from cryoreg.kinds import KINDS, SEAMS, Kind, Seam
from cryoreg_cli import describing, options, terminal
from cryoreg_cli.completion_values import COMPONENT_OF_KIND


@options.command()
@click.argument("kind", type=click.Choice([*KINDS, *SEAMS]))
@click.argument("name", type=COMPONENT_OF_KIND)
@options.jsonable
def show(kind: Kind | Seam, name: str, as_json: bool) -> None:
    """Show a component and all its parameters.

    For example: cryoreg show method moco
    """
    component = registry.find(registry.group_of(kind), name)
    component.documentation(), component.facts()  # a broken one ends here
    terminal.result(describing.to_json(describing.record(kind, component)) if as_json else _as_text(kind, component))


def _as_text(kind: Kind | Seam, component: registry.Component) -> str:
    page = describing.page()
    page.write_text(f"{kind} {component.reference}, from {component.dist} {component.version} ({component.target})")
    if not component.builtin:
        page.write_text(f"installed: {describing.origin(component)}")
    for paragraph in component.documentation():
        if paragraph:
            page.write_paragraph()
            page.write_text(paragraph)
    if facts := component.facts():
        with page.section("Facts"):
            describing.write_table(page, list(facts.items()))
    if kind == "weights" or kind in SEAMS:
        return page.getvalue().rstrip("\n")
    parameters = component.parameters()
    with page.section(f"Parameters (--set {kind}.NAME=VALUE)" if parameters else "No parameters"):
        rows = [(p.name, p.type, describing.default_text(p), p.limits, p.help) for p in parameters]
        if rows:
            describing.write_table(page, [("name", "type", "default", "limits", "help"), *rows])
    return page.getvalue().rstrip("\n")
