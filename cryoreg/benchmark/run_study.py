"""Runs a study to its tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from cryoreg.benchmark import tables
from cryoreg.benchmark.execution import Execution, run_jobs
from cryoreg.benchmark.jobs import results
from cryoreg.benchmark.plan import Plan, choose, scores
from cryoreg.benchmark.study import Study, parse_labels
from cryoreg.config import Project
from cryoreg.files import write_text


def run_study(
    study: Study, root: Path, execution: Execution, say: Callable[[str], None], project: Project | None = None
) -> tables.Table:
    """Run what a study still lacks in ``root``, write its tables there, and return the accuracies.

    Searched settings are chosen first, on the validation split alone. Raises `CryoregError` where jobs failed; the
    others are done, and the same call goes on with what is missing. A ``project`` says of real data what the
    study leaves open.
    """
    root.mkdir(parents=True, exist_ok=True)
    plan = Plan(study, project=project, say=say)
    searches = list(plan.searches())
    if searches:
        say(f"search on validation: {len(searches)} settings to choose")
        found = run_jobs([job for _, tried in searches for c in tried for job in c.jobs], root, execution, say)
        plan.chosen = {row: choose(tried, found) for row, tried in searches}
        for row, values in plan.chosen.items():
            say(f"chosen for {' · '.join(row)}: {', '.join(f'{key}={value}' for key, value in values.items())}")
    run_jobs(plan.jobs(), root, execution, say)
    return write_tables(plan, root)


def write_tables(plan: Plan, root: Path) -> tables.Table:
    """Write table.md, table.csv, table.tex, per_class.md and scores.json of all cells that are done."""
    found = scores(plan, results(plan.jobs(), root))
    accuracy = tables.summarise(found, "accuracy", paper_figures(plan.study))
    f1 = tables.summarise(found, "macro_f1")
    title = f"# {plan.study.title}\n\n" if plan.study.title else ""
    text = f"{title}## Accuracy, %\n\n{tables.to_markdown(accuracy)}\n\n## Macro-F1, %\n\n{tables.to_markdown(f1)}\n"
    write_text(root / "table.md", text)
    write_text(root / "table.csv", tables.to_csv([accuracy, f1]))
    write_text(root / "table.tex", tables.to_latex(accuracy))
    write_text(root / "per_class.md", tables.per_class_markdown(found))
    chosen = {" · ".join(row): values for row, values in plan.chosen.items()}
    rows = [score._asdict() for score in found]
    record = {"study": plan.study.model_dump(mode="json"), "chosen": chosen, "scores": rows}
    write_text(root / "scores.json", json.dumps(record, indent=1) + "\n")
    return accuracy


def paper_figures(study: Study) -> list[tables.PaperFigure]:
    """Return the accuracies that the study's file quotes, beside every way to fine-tune."""
    return [
        tables.PaperFigure(
            data,
            setting,
            start,
            parse_labels(_labels(labels)).column,
            mean,
            study.paper_sd.get(data, {}).get(start, {}).get(labels),
        )
        for setting in study.settings
        for data, starts in study.paper.items()
        for start, columns in starts.items()
        for labels, mean in columns.items()
    ]


def _labels(key: str) -> str | int:
    return int(key) if key.isdecimal() else key
