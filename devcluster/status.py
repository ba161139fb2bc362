"""What runs and whether it works."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devcluster import binaries, cluster, commands, external, node, parts, s3
from devcluster.errors import Refusal
from devcluster.paths import Layout
from devcluster.versions import PROGRAMS


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    pid: int | None
    healthy: bool
    note: str = ""


def status(layout: Layout) -> bool:
    """Print the table; whether all is well."""
    if external.recorded(layout) is not None:
        raise Refusal("The cluster is not run by the dev cluster: use `kubectl get nodes`.")
    if not layout.kubeconfig.exists():
        raise Refusal("There is no dev cluster yet: run `python -m devcluster up`.")
    found = {program.name: binaries.find(program) for program in PROGRAMS}
    programs = {name: path for name, path in found.items() if path is not None}
    if len(programs) < len(PROGRAMS):
        raise Refusal("Some programs are not built yet: run `python -m devcluster up`.")
    rows = part_rows(layout, programs)
    print(table(rows))
    print(f"S3 at {s3.ENDPOINT}, its keys by `python -m devcluster env`")
    print(f"images on disk: {used(layout) / 1024**3:.1f} GiB in {layout.home}")
    return all(row.healthy for row in rows)


def part_rows(layout: Layout, programs: dict[str, Path]) -> list[Row]:
    """One row per part, and one for what they make up: a node that takes pods."""
    described = cluster.describe(layout, programs)
    rows = []
    for name, part in cluster.parts(described).items():
        identity = parts.running(layout, name)
        healthy = identity is not None and part.healthy()
        log = "" if healthy else f"see {parts.log_file(layout, name)}"
        rows.append(Row(name, identity.pid if identity else None, healthy, log))
    ready = ("--for=condition=Ready=true", f"node/{node.NAME}", "--timeout=2s")
    return [*rows, Row(f"node {node.NAME}", None, described.kubectl.succeeds("wait", *ready))]


def table(rows: Sequence[Row]) -> str:
    """Columns: part, pid, health, where to look."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'PART':{width}}  {'PID':>8}  HEALTHY"]
    for row in rows:
        health = "yes" if row.healthy else f"NO  {row.note}"
        lines.append(f"{row.name:{width}}  {row.pid or '-':>8}  {health}")
    return "\n".join(lines)


def used(layout: Layout) -> int:
    """Bytes that images take, in buildah's and containerd's storage."""
    total = 0
    for folder in ("containerd", "buildah"):
        counted = commands.output_of(
            ["du", "--summarize", "--bytes", "--one-file-system", layout.home / folder], 60
        )
        total += int(counted.split()[0]) if counted else 0
    return total
