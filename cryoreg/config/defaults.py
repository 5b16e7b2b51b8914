"""What a setting is where nothing says otherwise, as text."""

from __future__ import annotations

from cryoreg.config.run_config import TASKS
from cryoreg.config.settings import InputSettings, SplitSettings
from cryoreg.specs import Settings


def default_of(task: str, key: str) -> str | None:
    """Return the default of a task's setting ``section.key`` as a user would type it; None where it has none."""
    if task not in TASKS:
        return None
    section, name = key.split(".")
    if name == "name":
        return TASKS[task].components.get(section)
    models: dict[str, type[Settings]] = {
        "training": TASKS[task].settings,
        "split": SplitSettings,
        "input": InputSettings,
    }
    default = models[section].model_fields[name].default
    return ",".join(default) if isinstance(default, tuple) else default if default is None else str(default)
