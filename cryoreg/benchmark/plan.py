"""Turns a study into jobs, one for every cell; pretraining is shared by the cells that allow it."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryoreg.benchmark.jobs import Job, Result
from cryoreg.benchmark.study import RANDOM, Labels, Setting, Study, Table, parse_labels
from cryoreg.benchmark.tables import Score
from cryoreg.config import PROVENANCE_SECTION, TASKS, Choice, Layer, Project, learner_recipe, resolve
from cryoreg.config.starts import Start, start_of
from cryoreg.datasets.fingerprint import fingerprint
from cryoreg.errors import ConfigError
from cryoreg.runs.starts import with_start
from cryoreg.specs import DatasetSpec, Spec

if TYPE_CHECKING:
    from cryoreg.benchmark.cells import Figures

CELLS = "cryoreg.benchmark.cells"
ASKING = "cryoreg.benchmark.asking"
FROZEN = {"linear": "linear probe", "kNN": "kNN"}
"""Classifier of frozen features -> the setting under which its scores stand."""


class Cell(NamedTuple):
    """One classifier of a study, and the job that trains it."""

    data: str
    encoder: str
    setting: str
    start: str
    labels: str
    """The column."""
    seed: int
    job: Job


class Candidate(NamedTuple):
    """One combination of a searched setting's values, and the jobs that try it."""

    values: Table
    jobs: list[Job]


@dataclass
class Plan:
    """The jobs of a study; ``chosen`` holds what searches have found, (data, encoder, setting, start) -> values."""

    study: Study
    chosen: dict[tuple[str, str, str, str], Table] = field(default_factory=dict)
    project: Project | None = None
    """It says of real data what the study leaves out."""
    say: Callable[[str], object] = lambda line: None
    """Gets the notes of real data."""

    def cells(self) -> Iterator[Cell]:
        """Yield every cell to fine-tune."""
        for (data, encoder, start), seed in itertools.product(self._rows(), self.study.seeds):
            for name, setting in self.study.settings.items():
                values = self.chosen.get((data, encoder, name, start), {})
                for labels in map(parse_labels, self.study.labels):
                    job = self._tuning(data, encoder, start, setting, values, labels, seed, ("test",))
                    yield Cell(data, encoder, name, start, labels.column, seed, job)

    def probes(self) -> Iterator[Cell]:
        """Yield every encoder whose frozen features are probed; their labels are all of the study's."""
        if not self.study.probes:
            return
        for (data, encoder, start), seed in itertools.product(self._rows(), self.study.seeds):
            if not self._uses_labels(data, encoder, start):
                yield Cell(data, encoder, "frozen", start, "", seed, self._probe(data, encoder, start, seed))

    def asked(self) -> Iterator[Cell]:
        """Yield, for each query, the job in which it asks for labels; its columns are numbers of labels."""
        asked = self.study.queried
        if asked is None:
            return
        for (data, encoder, start), seed in itertools.product(self._rows(), self.study.seeds):
            embedded = self._embedded(data, encoder, start, seed)
            for query in asked.queries:
                payload = {"query": query, "sizes": asked.sizes(), "seed": seed}
                name = f"{data} · {encoder} · {start} · {query} asks · seed {seed}"
                job = Job(name, f"{ASKING}:ask", payload, (embedded,))
                yield Cell(data, encoder, f"{start}, frozen", query, "", seed, job)

    def jobs(self) -> list[Job]:
        """Return the jobs whose results stand in tables."""
        return [cell.job for cell in (*self.cells(), *self.probes(), *self.asked())]

    def searches(self) -> Iterator[tuple[tuple[str, str, str, str], list[Candidate]]]:
        """Yield, for each row whose setting is searched, the candidates; their jobs never see the test split."""
        for data, encoder, start in self._rows():
            for name, setting in self.study.settings.items():
                if setting.search:
                    yield (data, encoder, name, start), list(self._candidates(data, encoder, start, setting))

    def _rows(self) -> Iterator[tuple[str, str, str]]:
        compared = [name for name, source in self.study.data.items() if source.compared]
        yield from itertools.product(compared, self.study.encoders, self.study.starts)

    def _candidates(self, data: str, encoder: str, start: str, setting: Setting) -> Iterator[Candidate]:
        labels = parse_labels(setting.search_labels)
        for combination in itertools.product(*setting.search.values()):
            values = dict(zip(setting.search, combination, strict=True))
            seeds = setting.search_seeds
            yield Candidate(
                values, [self._tuning(data, encoder, start, setting, values, labels, seed, ()) for seed in seeds]
            )

    def _tuning(
        self,
        data: str,
        encoder: str,
        start: str,
        setting: Setting,
        values: Table,
        labels: Labels,
        seed: int,
        parts: tuple[str, ...],
    ) -> Job:
        learnt = self._pretraining(data, encoder, start, seed, labels)
        chosen = _nested(values)
        few = setting.at.get(labels.column, {})
        training = {**setting.training, **few, **chosen.get("training", {}), **labels.training, "seed": seed}
        learner = setting.learner | chosen.get("learner", {})
        epochs = training.get("epochs", _recipe_epochs(learner) or _default("finetune", "epochs"))
        training["epochs"] = self.study.scaled(epochs)
        config = {
            "encoder": self._encoder(encoder, start),
            "learner": learner,
            "augmentation_2": setting.augmentation_2 | chosen.get("augmentation_2", {}),
            "augmentation": setting.augmentation | chosen.get("augmentation", {}),
            "training": training,
        }
        payload = self._payload("finetune", data, config, start, learnt)
        payload |= {"parts": list(parts), "min_steps": setting.min_steps}
        name = f"{data} · {encoder} · {start} · fine-tune with {labels.column} · seed {seed}"
        return Job(name, f"{CELLS}:finetune", payload, self._needs(data, learnt))

    def _probe(self, data: str, encoder: str, start: str, seed: int) -> Job:
        learnt = self._pretraining(data, encoder, start, seed, None)
        config = {"encoder": self._encoder(encoder, start), "training": {"seed": seed}}
        payload = self._payload("finetune", data, config, start, learnt) | {"labels": list(self.study.labels)}
        name = f"{data} · {encoder} · {start} · probe · seed {seed}"
        return Job(name, f"{CELLS}:probe", payload, self._needs(data, learnt))

    def _embedded(self, data: str, encoder: str, start: str, seed: int) -> Job:
        """Return the job that embeds a data set: once for all seeds, where weights do not depend on them."""
        learnt = self._pretraining(data, encoder, start, seed, None)
        drawn = seed if learnt is not None or self.study.starts[start].weights is None else 0
        config = {"encoder": self._encoder(encoder, start), "training": {"seed": drawn}}
        payload = self._payload("finetune", data, config, start, learnt)
        return Job(f"{data} · {encoder} · {start} · embed", f"{ASKING}:embed", payload, self._needs(data, learnt))

    def _pretraining(self, data: str, encoder: str, start: str, seed: int, labels: Labels | None) -> Job | None:
        chosen, stage = self.study.starts[start], self.study.pretrain
        if not chosen.method:
            return None
        training = {**stage.training, **chosen.training, "seed": seed}
        training["epochs"] = self.study.scaled(training.get("epochs", _default("pretrain", "epochs")))
        if labels is not None and self._uses_labels(data, encoder, start):
            training |= labels.training  # shown the labels of its cell only, and so not shared
        config = {
            "encoder": self._encoder(encoder, start),
            "method": chosen.method,
            "augmentation": chosen.augmentation or stage.augmentation,
            "training": training,
        }
        if chosen.augmentation_2:
            config["augmentation_2"] = chosen.augmentation_2
        source = chosen.data or data
        payload = self._payload("pretrain", source, config, start)
        name = f"{source} · {encoder} · {start} · pretrain · seed {seed}"
        return Job(name, f"{CELLS}:pretrain", payload, self._needs(source, None))

    def _uses_labels(self, data: str, encoder: str, start: str) -> bool:
        """Tell whether a start's method is shown labels of the compared data."""
        chosen = self.study.starts[start]
        if not chosen.method or chosen.data not in (None, data):
            return False
        from cryoreg.config import build_spec

        parameters = dict(chosen.method)
        return bool(build_spec("method", parameters.pop("name"), parameters).spec.uses_labels)

    def _encoder(self, encoder: str, start: str) -> Table:
        return self.study.encoders[encoder] | self.study.starts[start].encoder

    def _needs(self, data: str, learnt: Job | None) -> tuple[Job, ...]:
        return tuple(job for job in (self._simulation(data), learnt) if job is not None)

    def _simulation(self, data: str) -> Job | None:
        made = self.study.data[data].simulate
        if made is None:
            return None
        values = made.model_dump(mode="json") | {"per_class": self.study.scaled(made.per_class)}
        if made.structures is not None:
            values |= {"structures": str(made.structures.expanduser().absolute()), "files": _digests(made.structures)}
        return Job(f"{data} · simulate", f"{CELLS}:simulate", values)

    def _payload(
        self, task: str, data: str, config: Mapping[str, Table], start: str, learnt: Job | None = None
    ) -> dict[str, object]:
        """Return what defines a run: its whole resolved config, without the places of what other jobs make.

        It begins with what ``learnt`` gave, else with the weights of ``start``, where it has some.
        """
        weights = None if learnt else self.study.starts[start].weights
        source = self.study.data[data]
        simulated = source.simulate is not None
        reader = {"name": "store", "root": "data.h5"} | source.dataset if simulated else source.dataset
        layers = [self.project.layer()] if self.project else []
        layers.append(Layer(f"study, data '{data}'", {"dataset": reader, "split": self.study.split}))
        layers.append(Layer("study", {k: v for k, v in config.items() if v}))
        if weights is not None:
            layers.append(Layer(f"study, start '{start}'", {"training": {"pretrained": str(_absolute(weights))}}))
            layers = with_start("pretrain", layers)  # no recipe for fine-tuning: a setting is the same for every start
        resolved = resolve(task, layers)
        values = {k: v for k, v in resolved.to_dict().items() if k not in ("task", PROVENANCE_SECTION)}
        if "learner" in values and _is_default(resolved.choices["learner"]):
            del values["learner"]  # so that what was run before there were others keeps its key
        payload: dict[str, object] = {"config": values, "simulated": simulated, "pretrained": learnt is not None}
        if weights is not None:
            from cryoreg.runs.weights import weights_file  # which needs torch

            payload["weights"] = _digest(weights_file(start_of(weights)))
        if simulated:
            del values["dataset"]["root"]
        else:
            payload["data"] = self._fingerprint(data, resolved.spec("dataset"))
        if learnt is not None:
            del values["training"]["pretrained"]
        return payload

    def _fingerprint(self, data: str, spec: DatasetSpec) -> str:
        """Return what a data set holds, so that cells of changed data are run again."""
        if data not in self._known:
            dataset = spec.load()
            self._known[data] = fingerprint(dataset)
            for note in dataset.notes:
                self.say(f"note: {data}: {note}")
        return self._known[data]

    _known: dict[str, str] = field(default_factory=dict)


def choose(candidates: list[Candidate], results: Mapping[str, Result]) -> Table:
    """Return the values with the highest validation accuracy, averaged over the search's seeds; the first if equal."""

    def accuracy(candidate: Candidate) -> float:
        return sum(results[job.key]["val_accuracy"] for job in candidate.jobs) / len(candidate.jobs)

    return max(candidates, key=accuracy).values


def scores(plan: Plan, results: Mapping[str, Result]) -> list[Score]:
    """Return the test figures of all cells and probes that are done."""
    found = []
    for cell in plan.cells():
        if cell.job.key in results:
            test = results[cell.job.key]["test"]
            found.append(_score(cell, cell.setting, cell.labels, test))
    for cell in plan.probes():
        for labels, by_classifier in results.get(cell.job.key, {}).items():
            for classifier, test in by_classifier.items():
                found.append(_score(cell, FROZEN[classifier], labels, test))
    for cell in plan.asked():
        for labels, test in results.get(cell.job.key, {}).items():
            found.append(_score(cell, cell.setting, labels, test))
    return found


def _score(cell: Cell, setting: str, labels: str, test: Figures) -> Score:
    plain = {"accuracy": test["accuracy"], "macro_f1": test["macro_f1"]}
    return Score(cell.data, cell.encoder, setting, cell.start, labels, cell.seed, plain, test["per_class"])


def _default(task: str, setting: str) -> int:
    return TASKS[task].settings.model_fields[setting].default


def _recipe_epochs(learner: Table) -> int | None:
    """Return the epochs of a learner's own recipe, where it has some."""
    for layer in learner_recipe("finetune", [Layer("study", {"learner": learner})]):
        epochs = layer.values.get("training", {}).get("epochs")
        return int(str(epochs)) if epochs else None
    return None


def _is_default(learner: Choice[Spec]) -> bool:
    return learner.component.name == TASKS["finetune"].components["learner"] and learner.spec == type(learner.spec)()


def _nested(values: Table) -> dict[str, Table]:
    """Turn "section.key" -> value into section -> key -> value."""
    nested: dict[str, Table] = {}
    for key, value in values.items():
        section, _, name = key.partition(".")
        nested.setdefault(section, {})[name] = value
    return nested


def _digests(folder: Path) -> dict[str, str]:
    """Return file -> hash, so that other structures under an old name make another data set."""
    try:
        files = sorted(file for file in folder.expanduser().iterdir() if file.is_file())
    except OSError as error:
        raise ConfigError(f"cannot read structures {folder}: {error.strerror}") from error
    return {file.name: _digest(file) for file in files}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def _absolute(weights: str) -> Start:
    """Return a start that means the same in a job's folder."""
    start = start_of(weights)
    return start.expanduser().absolute() if isinstance(start, Path) else start


__all__ = ["RANDOM", "Candidate", "Cell", "Plan", "choose", "scores"]
