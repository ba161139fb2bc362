"""Each example runs as its README says: `finetune run` on its own rows, cut to a few steps.

The examples share one base model; DPO, KTO, PPO and GRPO start from what SFT published, as a user
would do it, and PPO is judged by what Reward published.
"""

import json
import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from finetune_api.manifest import Manifest
from finetune_api.validate import Target, validate
from finetune_api.yamlfile import load_documents

REPOSITORY = Path(__file__).parents[3]
EXAMPLES = REPOSITORY / "examples"
BASE, OUTPUT = "build/quickstart/base", "build/examples"
"""Where READMEs say that the base model and the results lie."""


@dataclass(frozen=True)
class Published:
    """What an example left."""

    job: Path
    """The job's folder."""
    manifest: Manifest
    metrics: list[dict[str, Any]]
    """Lines of metrics.jsonl: of steps, evaluations, and answers that are shown."""

    @classmethod
    def read(cls, job: Path) -> "Published":
        manifest = Manifest.model_validate_json((job / "manifest.json").read_bytes())
        lines = (path_of(manifest.run_uri) / "report/metrics.jsonl").read_text().splitlines()
        return cls(job, manifest, [json.loads(line) for line in lines])

    @property
    def steps(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if not line.keys() & {"evaluation", "answers"}]

    @property
    def adapter(self) -> dict[str, Any]:
        text = (path_of(self.manifest.result_uri) / "adapter_config.json").read_text()
        config: dict[str, Any] = json.loads(text)
        return config


def path_of(uri: str) -> Path:
    return Path(uri.removeprefix("file://"))


@dataclass(frozen=True)
class Workplace:
    """A folder that stands for the repository's `build/`."""

    root: Path

    def run(self, name: str, **training: Any) -> Published:
        """Run the example `name` by its README's command, with `training` put over the job's."""
        (document,) = load_documents((EXAMPLES / name / "job.yaml").read_text())
        document["spec"]["training"] |= training
        document["spec"]["training"].pop("epochs", None)
        if "evaluation" in document["spec"]:
            document["spec"]["evaluation"] = {"maxNewTokens": 2}
        job_file = self.root / f"{name}.yaml"
        job_file.write_text(json.dumps(document))  # JSON is YAML, and keeps strings strings
        places = {
            f"examples/{name}/job.yaml": str(job_file),
            BASE: str(self.root / "base"),
            OUTPUT: str(self.root / "out"),
        }
        words = [sys.executable, "-m", "finetune_cli", *readme_command(name, places)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        ended = subprocess.run(
            words, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return Published.read(self.root / "out" / "default" / document["metadata"]["name"])


def readme_command(name: str, places: dict[str, str]) -> list[str]:
    """Arguments of the `finetune run` in an example's README, with other places in it."""
    text = (EXAMPLES / name / "README.md").read_text()
    found = re.search(r"^\.venv/bin/finetune (run (?:.*\\\n)*.*)$", text, re.MULTILINE)
    assert found is not None, f"{name}/README.md has no command that runs it"
    words = shlex.split(found[1].replace("\\\n", " "))
    for place, path in places.items():
        words = [
            path + word.removeprefix(place) if word.startswith(place) else word for word in words
        ]
    return words


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A base model that has hardly been trained: what is shown here is the path."""
    root = tmp_path_factory.mktemp("examples")
    script = str(EXAMPLES / "quickstart" / "make_base_model.py")
    command = [sys.executable, script, "--output", str(root / "base"), "--steps", "3"]
    subprocess.run(command, check=True, capture_output=True)
    return Workplace(root)


@pytest.fixture(scope="module")
def sft(workplace: Workplace) -> Published:
    """Two steps, with the held-out conversations read after each."""
    return workplace.run("sft", maxSteps=2, evalEverySteps=1)


@pytest.fixture(scope="module")
def reward(workplace: Workplace) -> Published:
    """A reward model of three steps."""
    return workplace.run("reward", maxSteps=3)


@pytest.mark.parametrize(
    "name", ["quickstart", "cpt", "sft", "reward", "dpo", "kto", "orpo", "ppo", "grpo"]
)
def test_the_job_of_an_example_is_one_for_a_cluster(name: str) -> None:
    (document,) = load_documents((EXAMPLES / name / "job.yaml").read_text())
    job = validate(document, Target.CLUSTER)
    assert name in ("quickstart", job.spec.method.lower())
    for source in [*job.spec.data.train, *(job.spec.data.evaluation or [])]:
        uploaded = list(EXAMPLES.glob(f"*/data/{source.uri.removeprefix('s3://data/')}"))
        assert len(uploaded) == 1, "the quickstart puts the rows of all examples into one bucket"


def test_cpt_learns_from_the_manual_with_general_text_beside_it(workplace: Workplace) -> None:
    cpt = workplace.run("cpt", maxSteps=3)
    assert [line["step"] for line in cpt.steps] == [1, 2, 3]
    assert all(math.isfinite(line["loss"]) for line in cpt.steps)
    assert max(line["tokens"] for line in cpt.steps) == 8 * 128, "eight full blocks"
    assert cpt.manifest.evaluation is not None
    assert cpt.manifest.evaluation.before is not None
    assert cpt.adapter["r"] == 32
    card = (path_of(cpt.manifest.run_uri) / "README.md").read_text()
    assert {"manual.jsonl", "general.jsonl"} <= set(re.findall(r"\w+\.jsonl", card))


def test_sft_reads_the_held_out_conversations_while_it_trains(sft: Published) -> None:
    held_out = [line["evaluation"]["loss"] for line in sft.metrics if "evaluation" in line]
    assert len(held_out) == len(sft.steps) == 2
    evaluation = sft.manifest.evaluation
    assert evaluation is not None
    assert evaluation.after is not None
    assert float(evaluation.after.cross_entropy or "nan") == pytest.approx(min(held_out), abs=1e-4)


def test_dpo_starts_from_the_adapter_that_sft_published(
    workplace: Workplace, sft: Published
) -> None:
    dpo = workplace.run("dpo", maxSteps=3)
    assert [parent.uri for parent in dpo.manifest.parents] == [sft.job.as_uri()]
    assert dpo.steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert {"accuracy", "margin", "chosenReward", "rejectedReward"} <= dpo.steps[-1].keys()
    assert dpo.adapter["r"] == sft.adapter["r"] == 16
    assert dpo.adapter["base_model_name_or_path"] == "example/handbook-base"
    evaluation = dpo.manifest.evaluation
    assert evaluation is not None
    assert evaluation.before is not None
    assert evaluation.before.preference_accuracy is not None


def test_kto_starts_where_policy_and_reference_are_the_same(
    workplace: Workplace, sft: Published
) -> None:
    kto = workplace.run("kto", maxSteps=3)
    assert [parent.uri for parent in kto.manifest.parents] == [sft.job.as_uri()]
    first, *_, last = kto.steps
    rewards = ("desirableReward", "undesirableReward")
    assert [first[name] for name in rewards] == pytest.approx([0, 0], abs=1e-5)
    assert [last[name] for name in rewards] != pytest.approx([0, 0], abs=1e-5)
    assert kto.manifest.evaluation is not None
    assert kto.manifest.evaluation.after is not None


def test_orpo_learns_from_pairs_in_one_stage_from_the_base_model(workplace: Workplace) -> None:
    orpo = workplace.run("orpo", maxSteps=3)
    assert orpo.manifest.parents == []
    for line in orpo.steps:
        assert line["loss"] == pytest.approx(line["crossEntropy"] + 0.1 * line["oddsRatioLoss"])
    assert orpo.manifest.evaluation is not None
    assert orpo.manifest.evaluation.after is not None
    assert orpo.manifest.evaluation.after.preference_accuracy is not None


def test_a_reward_model_is_published_with_its_scale_and_the_lines_that_ask_it(
    reward: Published,
) -> None:
    assert {"accuracy", "margin", "centerLoss"} <= reward.steps[-1].keys()
    scale = json.loads((path_of(reward.manifest.result_uri) / "reward.json").read_text())
    assert scale["answers"] > 0
    assert scale["standardDeviation"] > 0
    card = (path_of(reward.manifest.run_uri) / "README.md").read_text()
    (lines,) = re.findall(
        r"^```python\n(turns = .*?)^```$",
        (EXAMPLES / "reward" / "README.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    assert lines in card
    assert len(lines.splitlines()) == 3


def test_ppo_goes_on_from_sft_and_is_judged_by_the_reward_model(
    workplace: Workplace, sft: Published, reward: Published
) -> None:
    ppo = workplace.run("ppo", maxSteps=2)
    assert [parent.uri for parent in ppo.manifest.parents] == [sft.job.as_uri()]
    assert [parent.uri for parent in ppo.manifest.reward_parents] == [reward.job.as_uri()]
    first, last = ppo.steps
    assert first["kl"] == pytest.approx(0, abs=1e-3), "policy and reference are the same"
    assert last["kl"] != pytest.approx(0, abs=1e-3)
    assert first["reward"] == pytest.approx(first["reward/rewardModel"])
    assert ppo.adapter["r"] == sft.adapter["r"]
    assert rewards_of(ppo).keys() == {"before", "after"}


def test_grpo_scores_by_rules_that_the_model_meets_by_degrees(
    workplace: Workplace, sft: Published
) -> None:
    grpo = workplace.run("grpo", maxSteps=2)
    assert [parent.uri for parent in grpo.manifest.parents] == [sft.job.as_uri()]
    for line in grpo.steps:
        words, stop, length = (line[f"reward/{n}"] for n in ("Regex0", "Regex1", "Length2"))
        assert line["reward"] == pytest.approx(words + stop + 0.5 * length, abs=1e-5)
    assert rewards_of(grpo).keys() == {"before", "after"}


def rewards_of(published: Published) -> dict[str, float]:
    """Mean reward of answers to held-out prompts, before and after."""
    evaluation = published.manifest.evaluation
    assert evaluation is not None
    found = {"before": evaluation.before, "after": evaluation.after}
    return {
        when: float(measured.reward_mean)
        for when, measured in found.items()
        if measured is not None and measured.reward_mean is not None
    }


def test_rlhf_is_the_jobs_of_sft_reward_and_ppo_the_last_starting_from_the_others() -> None:
    files = {"sft": "1-sft.yaml", "reward": "2-reward.yaml", "ppo": "3-ppo.yaml"}
    chain = {"model": "rlhf-sft", "rewardModel": "rlhf-reward"}
    for name, file in files.items():
        (chained,) = load_documents((EXAMPLES / "rlhf" / file).read_text())
        validate(chained, Target.CLUSTER)
        assert chained["metadata"]["name"] == f"rlhf-{name}"
        (example,) = load_documents((EXAMPLES / name / "job.yaml").read_text())
        if name == "ppo":
            example["spec"] |= {block: {"fromJob": {"name": n}} for block, n in chain.items()}
        assert chained["spec"] == example["spec"]
