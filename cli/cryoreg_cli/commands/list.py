"""`cryoreg list`: what is installed."""

from __future__ import annotations

import click

from cryoreg import registry
from cryoreg.errors import BrokenComponentError
from cryoreg.kinds import KINDS, SEAMS, Kind, Seam
from cryoreg_cli import describing, options, terminal


@options.command("list")
@options.KIND
@click.option("--verbose", "-v", is_flag=True, help="Add each component's source, parameters and their defaults.")
@options.jsonable
def list_components(kind: Kind | Seam | None, verbose: bool, as_json: bool) -> None:
    """List what is installed, by kind."""
    kinds = (kind,) if kind else (*KINDS, *SEAMS)
    if as_json:
        records = [describing.record(k, c) for k in kinds for c in registry.components(registry.group_of(k))]
        terminal.result(describing.to_json(records))
    else:
        click.echo(_as_text(kinds, verbose), nl=False)
    _warn()


def _as_text(kinds: tuple[Kind | Seam, ...], verbose: bool) -> str:
    page = describing.page()
    for kind in kinds:
        components = registry.components(registry.group_of(kind))
        if not components and len(kinds) > 1:
            continue
        with page.section(registry.group_of(kind).capitalize()):
            if verbose:
                for component in components:
                    _write_verbosely(page, component)
            elif components:
                describing.write_table(page, [_row(component) for component in components])
    if verbose and (plugins := registry.plugins()):
        page.write_paragraph()
        page.write_text(_on_plugins(list(plugins)))
    return page.getvalue().lstrip("\n")


def _row(component: registry.Component) -> tuple[str, str, str]:
    return component.reference, f"{component.dist} {component.version}", _summary(component)


def _summary(component: registry.Component) -> str:
    try:
        return component.documentation()[0]
    except BrokenComponentError as error:
        return f"(broken) {error}"


def _write_verbosely(page: click.HelpFormatter, component: registry.Component) -> None:
    describing.write_table(page, [_row(component)])
    try:
        (_, source), facts = component.documentation(), component.facts()
    except BrokenComponentError:
        return
    with page.indentation():
        if not component.builtin:
            page.write_text(f"({component.dist} {component.version}: {describing.origin(component)})")
        if source:
            page.write_text(source)
        if facts:
            describing.write_table(page, list(facts.items()))
        rows = [(f"{p.name} = {describing.default_text(p)}", p.help) for p in component.parameters()]
        if rows:
            describing.write_table(page, rows)
    page.write_paragraph()


def _on_plugins(dists: list[str]) -> str:
    """Say that plugins run code, and how to choose those that may."""
    allowed = registry.allowed_plugins()
    if allowed is not None:
        return f"{registry.ALLOW_LIST_VARIABLE} allows {', '.join(sorted(allowed)) or 'no plugin'}; others never run."
    return (
        f"Plugins run code as you. To allow only those that you trust: export "
        f"{registry.ALLOW_LIST_VARIABLE}={','.join(dists)} (empty: built-ins only)."
    )


def _warn() -> None:
    for file, reason in registry.problems():
        click.echo(f"Warning: {file} cannot be read, so its package is left out: {reason}", err=True)
    for stray in registry.strays():
        click.echo(f"Warning: {stray.complaint}", err=True)
