"""`cryoreg completion`, asked as click's scripts ask and in the shells themselves."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cryoreg import registry
from cryoreg.kinds import KINDS
from cryoreg.parameters import choices
from cryoreg_cli.commands.completion import INSTALL, VARIABLE
from cryoreg_cli.completion_shells import SHELLS
from cryoreg_cli.main import cryoreg

BREAKS = " \t\n\"'><=;|&(:"
"""Where bash cuts words, unless told otherwise."""
METHODS = {c.reference for c in registry.components("methods")}


def offered(line: str, monkeypatch: pytest.MonkeyPatch, breaks: str = BREAKS) -> list[str]:
    """Return what bash is offered at the end of a line."""
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_WORDBREAKS", breaks)
    answer = SHELLS["bash"](cryoreg, {}, "cryoreg", VARIABLE).complete()
    return [value for kind, _, value in (line.partition(",") for line in answer.splitlines()) if kind == "plain"]


FLAGS = {"encoder": "--encoder", "method": "--method", "augmentation": "--augmentation", "dataset": "--dataset"}


@pytest.mark.parametrize("kind", KINDS)
def test_components_are_offered_wherever_one_is_named(kind, monkeypatch):
    names = [c.reference for c in registry.components(registry.group_of(kind))]
    assert len(names) > (0 if kind == "weights" else 5)
    lines = [f"cryoreg show {kind} "]
    lines += ["cryoreg finetune --learner ", "cryoreg finetune --set learner.name="] if kind == "learner" else []
    lines += [f"cryoreg pretrain {FLAGS[kind]} ", f"cryoreg pretrain --set {kind}.name="] if kind in FLAGS else []
    for line in lines:
        assert offered(line, monkeypatch) == names, line


CASES = {
    "command": ("cryoreg pretr", ["pretrain"]),
    "option": ("cryoreg finetune --labels-p", ["--labels-per-class"]),
    "choice": ("cryoreg list --kind enc", ["encoder"]),
    "kind": ("cryoreg show data", ["dataset"]),
    "learner": ("cryoreg finetune --learner mean", ["mean_teacher"]),
    "learner's setting": ("cryoreg finetune --learner fixmatch --set learner.thr", ["learner.threshold="]),
    "second recipe": ("cryoreg pretrain --augmentation-2 no", ["none"]),
    "reader": ("cryoreg view set.h5 --dataset st", ["star", "store"]),
    "inspector's reader": ("cryoreg inspect set.h5 --dataset st", ["star", "store"]),
    "what to check": ("cryoreg check mo", ["moco", "monai"]),
    "package to check": ("cryoreg check cryor", ["cryoreg"]),
    "start": ("cryoreg finetune --from scr", ["scratch"]),
    "weights to start from": ("cryoreg finetune --from rb3", ["rb3d_universe"]),
    "weights to go on from": ("cryoreg pretrain --from rb3", ["rb3d_universe"]),
    "weights to check": ("cryoreg check rb3d_u", ["rb3d_universe"]),
    "recipe": ("cryoreg pretrain --recipe ", ["best", "gupta2022"]),
    "study": ("cryoreg benchmark ", ["du2021", "gupta2022", "gupta2022-real", "smoke"]),
    "default component": ("cryoreg pretrain --set method.temp", ["method.temperature="]),
    "chosen component": ("cryoreg pretrain --method vicreg --set method.va", ["method.variance="]),
    "chosen by --set": ("cryoreg pretrain --set method.name=vicreg --set method.va", ["method.variance="]),
    "chosen by a recipe": ("cryoreg pretrain --recipe best --set augmentation.tilt_j", ["augmentation.tilt_jitter="]),
    "glued to its option": ("cryoreg pretrain --set=method.temp", ["method.temperature="]),
    "training": ("cryoreg pretrain --set training.prec", ["training.precision="]),
    "split": ("cryoreg finetune --set split.fo", ["split.folds=", "split.fold="]),
    "values": ("cryoreg pretrain --set encoder.norm=", ["none", "batch", "group"]),
    "glued values": ("cryoreg pretrain --set=encoder.norm=b", ["batch"]),
    "truth": ("cryoreg pretrain --set training.channels_last=", ["true", "false"]),
    "number": ("cryoreg pretrain --set method.temperature=", []),
    "reader's own": ("cryoreg extract --set dataset.tomo", ["dataset.tomograms="]),
    "data set only": ("cryoreg convert --dataset star --set training.", []),
    "scene": ("cryoreg simulate --set snr_r", ["snr_region="]),
    "scene's values": ("cryoreg simulate --set snr_region=", ["crop", "box"]),
    "viewer": ("cryoreg open x.star --viewer im", ["imod"]),
    "what becomes of picks": ("cryoreg pick t.mrc --where lamella.mrc k", ["keep"]),
    "shell": ("cryoreg completion z", ["zsh"]),
    "in mid-word after others": ("cryoreg pretrain --epochs 3 --method moc", ["moco"]),
    "quoted": ("cryoreg pretrain --method 'moc", ["moco"]),
    "nothing fits": ("cryoreg pretrain --method xyz", []),
}


@pytest.mark.parametrize(("line", "expected"), CASES.values(), ids=CASES)
def test_what_bash_is_offered(line, expected, monkeypatch):
    monkeypatch.setenv(registry.ALLOW_LIST_VARIABLE, "")
    assert offered(line, monkeypatch) == expected


def test_bash_that_does_not_cut_at_equals_signs_gets_whole_words(monkeypatch):
    line = "cryoreg pretrain --set=encoder.norm=b"
    assert offered(line, monkeypatch, breaks=" \t\n") == ["--set=encoder.norm=batch"]
    assert offered(line, monkeypatch) == ["batch"]


def test_a_config_and_a_run_choose_components_too(tmp_path, monkeypatch):
    (tmp_path / "config.toml").write_text('task = "pretrain"\n[method]\nname = "vicreg"\n[dataset]\nname = "star"\n')
    assert offered(f"cryoreg pretrain --config {tmp_path}/config.toml --set method.va", monkeypatch)
    assert "dataset.contrast=" in offered(f"cryoreg evaluate {tmp_path} --set dataset.", monkeypatch)
    (tmp_path / "config.toml").write_text("not TOML")
    assert offered(f"cryoreg pretrain --config {tmp_path}/config.toml --set method.te", monkeypatch) == []


@pytest.mark.parametrize("option", ["--data", "--run-dir", "--config", "--from"])
def test_files_are_left_to_the_shell(option, monkeypatch):
    command = "finetune"
    monkeypatch.setenv("COMP_LINE", f"cryoreg {command} {option} x")
    monkeypatch.setenv("COMP_WORDBREAKS", BREAKS)
    assert SHELLS["bash"](cryoreg, {}, "cryoreg", VARIABLE).complete() == "file,x"


def test_a_plugin_is_completed_and_a_broken_one_disturbs_nothing(fake_plugin, monkeypatch):
    fake_plugin("cryoreg-tiny", "[cryoreg.encoders]\ntiny = cryoreg_tiny_specs:Tiny\n")
    fake_plugin("cryoreg-ruin", "[cryoreg.encoders]\ntiresome = nowhere:Nothing\n[cryoreg.commands]\nx = nowhere:x\n")
    assert offered("cryoreg pretrain --encoder ti", monkeypatch) == ["timm3d", "tiny", "tiresome"]
    assert offered("cryoreg pretrain --encoder tiny --set encoder.wi", monkeypatch) == ["encoder.width="]
    assert offered("cryoreg pretrain --encoder tiresome --set encoder.wi", monkeypatch) == []
    assert offered("cryoreg x --anything ", monkeypatch) == []


def test_two_plugins_of_one_name_are_offered_by_their_full_names(fake_plugin, monkeypatch):
    for dist in ("cryoreg-one", "cryoreg-two"):
        fake_plugin(dist, f"[cryoreg.encoders]\ntiny = {dist.replace('-', '_')}_specs:Tiny\n")
    assert offered("cryoreg pretrain --encoder cryoreg-o", monkeypatch) == ["cryoreg-one:tiny"]
    assert offered("cryoreg pretrain --encoder cryoreg-one:", monkeypatch) == ["tiny"]  # bash cuts at the colon


def ask(shell: str, words: str, position: str, code: str = "") -> str:
    """Ask in a process of its own, as the shell's script does."""
    start = "import sys; sys.argv = ['cryoreg']; from cryoreg_cli.main import main"
    program = f"{start}\ntry: main()\nfinally: {code or 0}"
    asked = {VARIABLE: f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": position, "COMP_LINE": words}
    result = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | asked, capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


@pytest.mark.slow
def test_zsh_and_fish_get_help_beside_each_value():
    zsh = ask("zsh", "cryoreg pretrain --set method.temp", "3")
    assert zsh == "plain\nmethod.temperature=\nτ, by which similarities are divided\n"
    fish = ask("fish", "cryoreg pretrain --set method.temp", "method.temp")
    assert fish == "plain,method.temperature=\tτ, by which similarities are divided\n"
    assert ask("fish", "cryoreg pretrain --set=encoder.norm=b", "--set=encoder.norm=b") == (
        "plain,--set=encoder.norm=batch\n"
    )


@pytest.mark.parametrize("words", ["cryoreg pretrain --method ", "cryoreg benchmark ", "cryoreg pretrain --set me"])
def test_completing_imports_nothing_heavy(words):
    heavy = "torch numpy monai timm lightly scipy sklearn mrcfile pandas"
    code = f"print('HEAVY', set({heavy!r}.split()) & set(sys.modules))"
    assert ask("bash", words, "0", code).splitlines()[-1] == "HEAVY set()"


@pytest.mark.parametrize("shell", INSTALL)
def test_the_script_says_where_to_put_it(shell, cryoreg_process):
    result = cryoreg_process("completion", shell)
    assert (result.returncode, result.stderr) == (0, "")
    assert any(line.startswith(f"# Completion for {shell}. To install: ") for line in result.stdout.splitlines()[:2])
    assert f"{VARIABLE}={shell}_complete" in result.stdout
    program = shutil.which(shell)
    if program:
        subprocess.run([program, "-n", "/dev/stdin"], input=result.stdout, text=True, check=True, timeout=60)


def test_an_unknown_shell_is_a_usage_error(cryoreg_process):
    result = cryoreg_process("completion", "csh")
    assert result.returncode == 2
    assert "'csh' is not one of 'bash', 'zsh', 'fish'" in result.stderr


def test_choices_of_types():
    assert choices(int | None) == []
    assert choices(bool | None) == ["true", "false"]


SETUP = {
    "bash": (["--norc", "-i"], "PS1='> '; source {script}"),
    "zsh": (["-f", "-i"], "PS1='> '; autoload -U compinit; compinit -u -D; source {script}"),
}


class Terminal:
    """An interactive shell that completes `cryoreg`."""

    def __init__(self, shell: str, folder: Path) -> None:
        """Start it; skip where it is not installed."""
        program = shutil.which(shell)
        if program is None:
            pytest.skip(f"needs {shell}, which is not installed")
        bin = Path(sys.executable).parent
        script = folder / "script"
        script.write_text(
            subprocess.run([bin / "cryoreg", "completion", shell], capture_output=True, text=True, check=True).stdout
        )
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.environ.update(PATH=f"{bin}:{os.environ['PATH']}", TERM="dumb", HOME=str(folder), HISTFILE="")
            os.chdir(folder)
            os.execv(program, [shell, *SETUP[shell][0]])
        self.type(SETUP[shell][1].format(script=script) + "; echo read''y\r", until="ready")

    def complete(self, line: str) -> str:
        """Type a line with tabs, and return what the shell made of it."""
        for part in line.split("\t")[:-1]:
            self.type(part)
            self.type("\t")
        self.type("_\x01echo '[\x05]'\r", until="\n[")  # zsh takes a space back, unless something follows
        return self.type("", until="_]").removesuffix("_]")

    def type(self, text: str, until: str | None = None) -> str:
        """Send keys; return what appears, up to and with ``until``, or until nothing more does."""
        os.write(self.terminal, text.encode())
        seen, end = "", time.monotonic() + (60 if until else 5)
        while time.monotonic() < end:
            if select.select([self.terminal], [], [], 0.05)[0]:
                seen += os.read(self.terminal, 1 if until else 4096).decode(errors="replace")
                if until and seen.endswith(until):
                    return seen
                if not until:
                    end = time.monotonic() + 0.2
        assert until is None, f"{until!r} did not appear in {seen!r}"
        return seen

    def close(self) -> None:
        """End the shell."""
        os.close(self.terminal)
        os.waitpid(self.pid, 0)


TYPED = {
    "cryoreg pretrain --method simc\t": "cryoreg pretrain --method simclr ",
    "cryoreg sho\tmethod moc\t": "cryoreg show method moco ",
    "cryoreg pretrain --set method.te\t": "cryoreg pretrain --set method.temperature=",
    "cryoreg pretrain --set encoder.norm=ba\t": "cryoreg pretrain --set encoder.norm=batch ",
    "cryoreg pretrain --set=encoder.no\t": "cryoreg pretrain --set=encoder.norm=",
    "cryoreg pretrain --run-dir scr\t": "cryoreg pretrain --run-dir script ",
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", SETUP)
def test_a_shell_completes_what_is_typed(shell, tmp_path):
    terminal = Terminal(shell, tmp_path)
    try:
        assert {line: terminal.complete(line) for line in TYPED} == TYPED
    finally:
        terminal.close()


def test_fish_completes_what_it_is_asked(tmp_path):
    if not shutil.which("fish"):
        pytest.skip("needs fish, which is not installed")
    bin = Path(sys.executable).parent
    lines = "; ".join(f"complete -C {line.removesuffix(chr(9))!r}" for line in TYPED if line.count("\t") == 1)
    result = subprocess.run(
        ["fish", "--no-config", "-c", f"cryoreg completion fish | source; cd {tmp_path}; touch script; {lines}"],
        env=os.environ | {"PATH": f"{bin}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    found = [line.partition("\t")[0] for line in result.stdout.splitlines()]
    assert found == ["simclr", "method.temperature=", "encoder.norm=batch", "--set=encoder.norm=", "script"]
