"""One run = components + settings, resolved from layers (defaults, file, options) that name their source."""

from cryoreg.config.layers import Layer, parse_assignment, read_toml
from cryoreg.config.project import PROJECT_FILE, Project, find_project
from cryoreg.config.run_config import (
    PROVENANCE_SECTION,
    RUNTIME_KEYS,
    SECOND_AUGMENTATION,
    STARTED_FROM,
    TASKS,
    AnyConfig,
    Choice,
    RunConfig,
    Task,
    build_spec,
    changed_packages,
    check_same_run,
    choose_dataset,
    chosen_learner,
    kind_of,
    learner_recipe,
    resolve,
)
from cryoreg.config.validation import absolute

__all__ = [
    "PROJECT_FILE",
    "PROVENANCE_SECTION",
    "RUNTIME_KEYS",
    "SECOND_AUGMENTATION",
    "STARTED_FROM",
    "TASKS",
    "AnyConfig",
    "Choice",
    "Layer",
    "Project",
    "RunConfig",
    "Task",
    "absolute",
    "build_spec",
    "changed_packages",
    "check_same_run",
    "choose_dataset",
    "chosen_learner",
    "find_project",
    "kind_of",
    "learner_recipe",
    "parse_assignment",
    "read_toml",
    "resolve",
]
