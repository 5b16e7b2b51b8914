"""Click's completion for bash, zsh and fish, with words like ``--set method.temperature=`` whole.

Click's own script for bash sees three words there, as bash cuts at ``=`` and ``:``; and after a ``=`` that is to be
followed by a value, bash and zsh would put a space.
"""

from __future__ import annotations

import os

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from cryoreg.errors import CryoregError


class _Whole(ShellComplete):
    """Completes ``--option=VALUE`` as one word, where click drops the option, and is silent about a broken command."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Return the values with the option that they are glued to."""
        try:
            found = super().get_completions(args, incomplete)
        except CryoregError:
            return []
        option, equals, _ = incomplete.partition("=")
        if option.startswith("--") and equals:
            return [CompletionItem(f"{option}={item.value}", item.type, item.help) for item in found]
        return found


class Bash(_Whole, BashComplete):
    """For bash 4.4 and later."""

    source_template = """\
%(complete_func)s() {
    local IFS=$'\\n' type value
    compopt +o default +o dirnames
    while IFS=, read -r type value; do
        case $type in
            plain) COMPREPLY+=("$value"); [[ $value == *= ]] && compopt -o nospace ;;
            file) compopt -o default ;;
            dir) compopt -o dirnames ;;
        esac
    done < <(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words of the line up to the cursor, which `bash` has not cut, and the last one."""
        line = os.environ["COMP_LINE"]
        _, *words = split_arg_string(line)
        incomplete = words.pop() if words and not line.endswith(" ") else ""
        self.cut = max((incomplete.rfind(each) for each in os.environ.get("COMP_WORDBREAKS", "=:")), default=-1) + 1
        return words, incomplete

    def format_completion(self, item: CompletionItem[str]) -> str:
        """Leave out what bash takes for an earlier word."""
        return f"{item.type},{item.value[self.cut :]}"


class Zsh(_Whole, ZshComplete):
    """For zsh."""

    source_template = """\
#compdef %(prog_name)s

%(complete_func)s() {
    local -a plain described response suffix
    local type key help
    (( ! $+commands[%(prog_name)s] )) && return 1

    response=("${(@f)$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((CURRENT-1)) \\
        %(complete_var)s=zsh_complete %(prog_name)s 2>/dev/null)}")
    for type key help in ${response}; do
        case $type in
            plain)
                [[ $key == *= ]] && suffix=(-S '')
                if [[ $help == _ ]]; then plain+=("$key"); else described+=("$key:$help"); fi ;;
            file) _path_files -f ;;
            dir) _path_files -/ ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U "${suffix[@]}"
    (( $#plain )) && compadd -U -V unsorted "${suffix[@]}" -a plain
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    %(complete_func)s "$@"
else
    compdef %(complete_func)s %(prog_name)s
fi
"""


class Fish(_Whole, FishComplete):
    """For fish, which needs no script of its own."""


SHELLS: dict[str, type[ShellComplete]] = {cls.name: cls for cls in (Bash, Zsh, Fish)}


def register() -> None:
    """Have click answer these shells with the classes above."""
    for cls in SHELLS.values():
        add_completion_class(cls)
