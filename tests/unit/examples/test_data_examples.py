"""Each example of data is prepared as its README says, and gives the numbers that it states."""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from finetune_api.spec import StopAfter
from finetune_api.validate import Target, validate
from finetune_api.yamlfile import load_documents
from finetune_cli.datalines import data_lines
from finetune_cli.localjob import LocalJob
from finetune_cli.main import build_parser
from finetune_cli.run import read_job
from finetune_trainer.preparation.run import run_prepare
from finetune_trainer.storage import open_store

REPOSITORY = Path(__file__).parents[3]
EXAMPLES = REPOSITORY / "examples"
DATA = EXAMPLES / "data"
NAMES = sorted(path.parent.name for path in DATA.glob("*/job.yaml"))
OTHERWISE = {"pairs": "With `method: KTO` it is", "rankings": "With `dpo.yaml` in place of"}
"""Examples that are prepared for a second method, and where the README says how that ends."""


@dataclass(frozen=True)
class Prepared:
    """What a command printed and left."""

    said: list[str]
    """Its last lines: counts and what the checks found."""
    report: dict[str, Any]

    @classmethod
    def of(cls, lines: list[str]) -> "Prepared":
        """From what the command prints at its end."""
        end = next(i for i, line in enumerate(lines) if line.startswith("Report: "))
        page = Path(lines[end].removeprefix("Report: "))
        assert page.exists()
        return cls(lines[:end], json.loads(page.with_suffix(".json").read_text()))


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for the repository's `build/`, with a base model in it."""
    root = tmp_path_factory.mktemp("build")
    script = str(EXAMPLES / "quickstart" / "make_base_model.py")
    output = str(root / "quickstart" / "base")
    command = [sys.executable, script, "--output", output, "--steps", "1"]
    subprocess.run(command, check=True, capture_output=True)
    return root


@pytest.fixture(scope="module")
def prepared(build: Path) -> dict[str, Prepared]:
    """By example, with "again" behind it for the second method.

    All in this process: to start one takes longer than to prepare so few rows.
    """
    kto = build / "kto.yaml"
    kto.write_text((DATA / "pairs" / "job.yaml").read_text().replace("method: DPO", "method: KTO"))
    found = {name: prepare(name, DATA / name / "job.yaml", build) for name in NAMES}
    found["pairs again"] = prepare("pairs", kto, build)
    found["rankings again"] = prepare("rankings", DATA / "rankings" / "dpo.yaml", build)
    return found


def prepare(name: str, job: Path, build: Path) -> Prepared:
    """What the README's command does with `job`, short of starting a process."""
    options = build_parser().parse_args(readme_command(name, job, build))
    local = LocalJob.of(read_job(options, options.output), processes=None)
    work = build / "work"
    work.mkdir(exist_ok=True)
    store = open_store(local.run.spec.storage, allow_loopback=True)
    return Prepared.of(list(data_lines(run_prepare(local.run, work, store, lambda _: None))))


def readme(name: str) -> str:
    return (DATA / name / "README.md").read_text()


def readme_command(name: str, job: Path, build: Path) -> list[str]:
    """Arguments of the `finetune prepare` in an example's README, for `job` and in `build`."""
    found = re.search(r"^\.venv/bin/finetune (prepare (?:.*\\\n)*.*)$", readme(name), re.MULTILINE)
    assert found is not None, f"{name}/README.md has no command that prepares it"
    words = shlex.split(found[1].replace("\\\n", " "))
    places = {
        f"examples/data/{name}/job.yaml": job,
        "build/": build,
        "examples/": EXAMPLES,
    }
    return [inside(places, word) for word in words]


def inside(places: dict[str, Path], word: str) -> str:
    """The word with the first of `places` that it begins with in the place of its beginning."""
    for beginning, path in places.items():
        if word.startswith(beginning):
            return f"{path}/{word.removeprefix(beginning)}".rstrip("/")
    return word


def stated_end(name: str, after: str) -> list[str]:
    """The lines in the first block that follows `after` in a README."""
    _, _, rest = readme(name).partition(after)
    return rest.split("```")[1].strip().splitlines()


@pytest.mark.parametrize("name", NAMES)
def test_the_command_ends_as_the_readme_says(prepared: dict[str, Prepared], name: str) -> None:
    assert prepared[name].said == stated_end(name, "The command ends with")


def test_the_command_itself_ends_so(build: Path) -> None:
    words = readme_command("manual", DATA / "manual" / "job.yaml", build)
    ended = subprocess.run(
        [sys.executable, "-m", "finetune_cli", *words],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("Data: "))
    assert Prepared.of(lines[start:]).said == stated_end("manual", "The command ends with")


@pytest.mark.parametrize("name", OTHERWISE)
def test_the_same_rows_fit_a_second_method(prepared: dict[str, Prepared], name: str) -> None:
    assert prepared[f"{name} again"].said == stated_end(name, OTHERWISE[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_report_holds_the_numbers_of_the_readme(
    prepared: dict[str, Prepared], name: str
) -> None:
    report = prepared[name].report
    stated = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", readme(name), re.MULTILINE))
    stated = {field: value for field, value in stated.items() if field in report}
    assert len(stated) > 4
    shown = report | {"firstErrors": shown_rows(report.get("firstErrors", []))}
    assert {field: shown[field] for field in stated} == {
        field: json.loads(value) for field, value in stated.items()
    }


def shown_rows(errors: Sequence[dict[str, Any]]) -> list[list[Any]]:
    """As the READMEs write them."""
    return [[e["file"].rpartition("/")[2], e["row"], e["message"]] for e in errors]


FOUND: dict[str, dict[str, list[str]]] = {
    "contracts": {
        "personalData": [
            "carrier.pdf:1",
            "data-processing.pdf:1",
            "maintenance.pdf:1",
            "site-bakery.pdf:1",
            "site-station.pdf:1",
        ]
    },
    "help-pages": {"duplicates": ["print/collect.html:1"], "language": ["de/abholen.html:1"]},
    "dolly": {
        "leakage": ["community.jsonl.gz:20", "community.jsonl.gz:22"],
        "duplicates": ["community.jsonl.gz:21"],
        "contradictions": ["answers.csv:1", "answers.csv:45"],
        "quality": ["answers.csv:46"],
    },
    "pairs": {"quality": ["pairs.jsonl:18", "pairs.jsonl:26"]},
    "rankings": {"contradictions": ["rankings.parquet:1", "rankings.parquet:27"]},
}


@pytest.mark.parametrize("name", FOUND)
def test_the_rows_that_the_readme_speaks_of_are_those_found(
    prepared: dict[str, Prepared], name: str
) -> None:
    checks = {check["check"]: check for check in prepared[name].report["checks"]}
    for check, expected in FOUND[name].items():
        places = [f"{row['file']}:{row['row']}" for row in checks[check]["first"]]
        assert [place.rpartition("/data/")[2] for place in places] == expected


def test_no_number_of_a_person_reaches_the_model(prepared: dict[str, Prepared]) -> None:
    report = prepared["contracts"].report
    assert report["firstErrors"][0]["file"].endswith("/scanned-annex.pdf")
    texts = "\n".join(path.read_text() for path in (DATA / "contracts" / "text").glob("*.txt"))
    values = [*re.findall(r"\+44 [\d ]{9,}\d", texts), *re.findall(r"[\w.]+@[\w.-]+\w", texts)]
    assert len(values) == 17
    shown = json.dumps(report)
    assert not [value for value in values if value in shown]


@pytest.mark.parametrize("path", sorted(DATA.glob("*/*.yaml")), ids=lambda path: path.parent.name)
def test_a_job_is_one_for_a_cluster_and_for_this_machine(path: Path) -> None:
    (document,) = load_documents(path.read_text())
    for target in Target:
        assert validate(document, target).spec.stop_after is StopAfter.DATA


@pytest.mark.parametrize("path", sorted(DATA.glob("*/*.yaml")), ids=lambda path: path.parent.name)
def test_the_addresses_of_a_job_are_those_that_the_quickstart_fills(path: Path) -> None:
    (document,) = load_documents(path.read_text())
    data = validate(document, Target.CLUSTER).spec.data
    uris = [source.uri for source in (*data.train, *(data.evaluation or []))]
    for uri in [*uris, *(text.uri for text in data.domain_text or [])]:
        name, _, path_inside = uri.removeprefix("s3://data/").partition("/")
        assert list((DATA / name / "data").glob(path_inside or "*")), uri


@pytest.mark.parametrize("name", ["contracts", "manual", "rankings"])
def test_the_files_are_those_that_the_script_makes(name: str, tmp_path: Path) -> None:
    (script,) = (DATA / name).glob("make_*.py")
    subprocess.run([sys.executable, script, "--output", tmp_path], check=True)
    made = sorted(tmp_path.iterdir())
    assert [path.name for path in made] == sorted(p.name for p in (DATA / name / "data").iterdir())
    if name == "rankings":  # its bytes may change with the library
        pq = pytest.importorskip("pyarrow.parquet")
        committed = pq.read_table(DATA / name / "data" / made[0].name).to_pylist()
        assert pq.read_table(made[0]).to_pylist() == committed
        return
    for path in made:
        assert path.read_bytes() == (DATA / name / "data" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", ["contracts", "manual"])
def test_documents_are_made_by_the_standard_library_alone(name: str) -> None:
    (script,) = (DATA / name).glob("make_*.py")
    modules = {
        name
        for node in ast.walk(ast.parse(script.read_text()))
        for name in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else []
        )
        if name
    }
    assert {module.partition(".")[0] for module in modules} <= sys.stdlib_module_names
