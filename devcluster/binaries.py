"""Get the programs: from the cache, from the machine, or by building them with Go."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from devcluster import commands
from devcluster.paths import GO_MODULES, program_cache
from devcluster.progress import step
from devcluster.versions import PROGRAMS, Program, fits, program_named

GO_ADVICE = "install Go 1.26 or newer and put it on PATH"
BUILD_ADVICE = "Check that Go can fetch modules (go env GOPROXY) and run the same command again."


def cached(program: Program) -> Path:
    """Where our own build of a program lies or will lie."""
    return program_cache() / program.name / program.key / program.name


def find(program: Program) -> Path | None:
    """A program that is there already: in $KUBEBUILDER_ASSETS or on PATH in a version that fits,
    or built earlier."""
    if cached(program).exists():
        return cached(program)
    if not program.version_command:
        return None
    for path in _installed(program.name):
        printed = commands.output_of([path, *program.version_command])
        if printed is not None and fits(printed, program.version):
            return path
    return None


def _installed(name: str) -> Iterator[Path]:
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    for folder in ([assets] if assets else []) + [os.environ.get("PATH", "")]:
        if found := shutil.which(name, path=folder):
            yield Path(found)


def missing(names: Sequence[str]) -> list[Program]:
    """Programs that have to be built."""
    return [each for each in PROGRAMS if each.name in names and find(each) is None]


def obtain(names: Sequence[str]) -> dict[str, Path]:
    """Paths of programs, built if need be, in the order in which building is fastest."""
    todo = missing(names)
    if todo:
        with _only_builder():
            for number, program in enumerate(todo, 1):
                if find(program) is None:
                    with step(
                        f"Building {program.name} {program.version} ({number} of {len(todo)})",
                        announce=True,
                    ):
                        build(program)
    found = {name: find(program_named(name)) for name in names}
    return {name: path for name, path in found.items() if path is not None}


@contextmanager
def _only_builder() -> Iterator[None]:
    """One build at a time on a machine; a second waits and then finds the cache filled."""
    program_cache().mkdir(parents=True, exist_ok=True)
    with (program_cache() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stale in program_cache().glob(".build-*"):
            shutil.rmtree(stale, ignore_errors=True)
        yield


def build(program: Program) -> None:
    """Build in a temporary folder of the cache and rename: no half-written binary is ever used."""
    go = commands.program("go", GO_ADVICE)
    module = GO_MODULES / program.module
    target = cached(program)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=program_cache()) as folder:
        binary = Path(folder) / program.name
        flags = ("-trimpath", "-buildvcs=false", "-ldflags", f"-s -w {program.flags}".rstrip())
        commands.run(
            [go, "build", *flags, "-o", binary, program.package],
            cwd=module,
            environment={"CGO_ENABLED": "0"},
            advice=BUILD_ADVICE,
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        if program.name == "training-operator":
            _keep_manifests(go, module, target.parent)
        binary.rename(target)


def _keep_manifests(go: Path, module: Path, folder: Path) -> None:
    """Its CRD and roles lie in its module, which a cleaned Go cache would lose."""
    name = "github.com/kubeflow/training-operator"
    source = commands.run([go, "list", "-m", "-f", "{{.Dir}}", name], cwd=module).strip()
    shutil.copytree(Path(source) / "manifests", folder / "manifests", dirs_exist_ok=True)
    for path in folder.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
