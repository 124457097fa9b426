"""`advrec doctor` and `advrec --version`: what advrec runs on here, and what would fix it."""

from __future__ import annotations

import typer

from advrec_cli.console import emit_json, show, stdout
from advrec_cli.help import examples
from advrec_cli.options import Given, Json, takes

EPILOG = examples(
    "advrec doctor",
    "advrec doctor --json  # to attach to a bug report",
)


@takes()
def doctor(_: Given, *, json: Json = False) -> None:
    """Check this machine: Python, torch, the compiler, the compiled core, the GPU.

    Exits with 1 if something that advrec needs is missing. Without the compiled core advrec uses
    its plain torch twin, which is slower and gives the same results up to rounding.
    """
    from advrec import native
    from advrec.versions import versions

    checks = native.diagnose()
    well = all(check.ok for check in checks)
    if json:
        emit_json(
            {
                "ok": well,
                "versions": versions(),
                "checks": [
                    {
                        "name": check.name,
                        "ok": check.ok,
                        "found": check.found,
                        "hint": None if check.ok else check.hint,
                    }
                    for check in checks
                ],
            }
        )
    else:
        from rich.markup import escape

        for check in checks:
            mark = "[green]ok[/]" if check.ok else "[bold red]no[/]"
            name = check.name.ljust(max(len(other.name) for other in checks))
            stdout().print(f"{mark}  {name}  {escape(check.found)}", soft_wrap=True)
            if not check.ok and check.hint:
                stdout().print(f"    [cyan]hint:[/] {escape(check.hint)}", soft_wrap=True)
    if not well:
        raise typer.Exit(1)


def print_version() -> None:
    """`advrec --version`: one line each for advrec, torch and the compiled core."""
    from advrec import native
    from advrec.versions import versions

    here = versions()
    show(f"advrec {here['advrec']}" + (f" ({here['git'][:12]})" if "git" in here else ""))
    show(f"torch {here['torch']}, Python {here['python']}")
    core = native.prebuilt()
    if core is not None:
        show(f"core prebuilt: {core}")
    else:
        show("core not prebuilt: it is compiled at its first use; 'advrec doctor' tries that")
