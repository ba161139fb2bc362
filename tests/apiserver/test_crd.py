"""What `kubectl apply` accepts and refuses, by the API server alone."""

import json
import subprocess
import uuid
from typing import Any

import pytest
from finetune_operator.kinds import Document

from devcluster.apionly import ApiServer
from tests.apiserver.conftest import kubectl
from tests.apiserver.play import job_document

ROWS = {"uri": "s3://data/rows.jsonl"}
REPLAY = {"uri": "s3://data/general.jsonl", "share": "0.5"}
GRPO = {"maxNewTokens": 8, "rewardFunctions": [{"type": "JsonValid"}]}
TRL = {"engine": "TRL", "packing": False}


@pytest.fixture
def namespace(server: ApiServer) -> str:
    name = f"c{uuid.uuid4().hex[:10]}"
    kubectl(server, "create", "namespace", name)
    return name


def create(server: ApiServer, document: Document) -> Document:
    """The job as the API server stored it."""
    made = kubectl(server, "create", "-o", "json", "-f", "-", text=json.dumps(document))
    found: Document = json.loads(made)
    return found


def refusal(server: ApiServer, document: Document) -> str:
    """Why the API server refuses the job."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        create(server, document)
    return str(caught.value.stderr)


def test_defaults_that_do_not_depend_on_the_method_are_filled_in(
    server: ApiServer, namespace: str
) -> None:
    spec = create(server, job_document("support", namespace))["spec"]
    assert spec["training"]["globalBatchSize"] == 64
    assert spec["restarts"] == {
        "max": 3,
        "startDeadlineSeconds": 900,
        "stepDeadlineSeconds": 1800,
    }
    assert spec["podTemplate"] == {"terminationGracePeriodSeconds": 120}
    assert "learningRate" not in spec["training"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"training": {"learningRate": 2e-4}}, "must be of type string"),
        ({"training": {"learningRate": "0"}}, "must be a decimal string > 0"),
        ({"training": {"learningRat": "2e-4"}}, 'unknown field "spec.training.learningRat"'),
        ({"training": {"epochs": "1", "maxSteps": 3}}, "give epochs or maxSteps, not both"),
        (
            {"training": {"scheduler": "Constant", "minLearningRateRatio": "0.1"}},
            "the learning rate does not fall",
        ),
        ({"output": {"uri": "file:///tmp/out"}}, "file:// works only in local runs"),
        ({"method": "Magic"}, "Unsupported value"),
        ({"adapter": {"type": "None", "rank": 8}}, "type None trains all weights"),
        ({"adapter": {"type": "None", "rankPattern": {"q": 8}}}, "type None trains all weights"),
        ({"adapter": {"type": "None", "from": "Continue"}}, "remove from, or write Merge"),
        ({"adapter": {"rankPattern": {"q_proj": 0}}}, "greater than or equal to 1"),
        (
            {"adapter": {"type": "None"}, "output": {"uri": "s3://b/out", "merged": True}},
            "the result is a whole model already",
        ),
        ({"workers": {"nodes": 0}}, "greater than or equal to 1"),
        ({"podTemplate": {"scratch": {"storageClassName": "fast"}}}, "scratch.size: Required"),
        ({"podTemplate": {"scratch": {"size": "much"}}}, "podTemplate.scratch.size"),
        ({"podTemplate": {"topologySpread": ["zone"]}}, "topologySpread[0]: Invalid value"),
        ({"priorityClassName": "High"}, "priorityClassName: Invalid value"),
        ({"data": {"train": [{**ROWS, "weight": "2"}]}}, "mixing Concat reads every source once"),
        (
            {"data": {"train": [ROWS], "evaluation": [{**ROWS, "weight": "2"}]}},
            "evaluation rows are all read",
        ),
        ({"data": {"train": [ROWS], "mixingStop": "AllExhausted"}}, "set mixing to Interleave"),
        ({"data": {"train": [{**ROWS, "format": "Text"}]}}, "method SFT trains on rows"),
        (
            {"data": {"train": [ROWS], "evaluation": [{**ROWS, "format": "Text"}]}},
            "method SFT trains on rows",
        ),
        ({"cpt": {"replay": [REPLAY]}}, "the block cpt belongs to method CPT"),
        ({"method": "CPT", "cpt": {"replay": [REPLAY, REPLAY]}}, "may be 0.95 together"),
        (
            {"method": "CPT", "cpt": {"replay": [{**REPLAY, "format": "Messages"}]}},
            "replay rows are documents",
        ),
        ({"method": "CPT", "training": {"lossOn": "All"}}, "lossOn belongs to method SFT"),
        (
            {"method": "CPT", "data": {"train": [ROWS], "checks": {"maxTooLongShare": "0.05"}}},
            "remove data.checks.maxTooLongShare",
        ),
        (
            {"method": "CPT", "data": {"train": [ROWS], "checks": {"tooLong": "Fail"}}},
            "remove data.checks.tooLong",
        ),
        ({"data": {"train": [ROWS], "checks": {"language": "Fail"}}}, "set languages"),
        (
            {"data": {"train": [ROWS], "checks": {"language": "Off", "languages": ["en"]}}},
            "remove languages",
        ),
        (
            {"data": {"train": [ROWS], "checks": {"tooLong": "Fail", "maxTooLongShare": "0.1"}}},
            "remove maxTooLongShare",
        ),
        ({"data": {"train": [ROWS], "checks": {"license": "DropRows"}}}, "Unsupported value"),
        (
            {"data": {"train": [ROWS], "evaluation": [ROWS], "groupBy": "customer"}},
            "groupBy decides which rows are held out",
        ),
        ({"stopAfter": "Everything"}, "Unsupported value"),
        (
            {"stopAfter": "Baseline", "evaluation": {"enabled": False}},
            "stopAfter Baseline measures the untouched model",
        ),
        ({"restarts": {"stepDeadlineSeconds": 5}}, "greater than or equal to 10"),
        ({"evaluation": {"enabled": False, "maxNewTokens": 256}}, "no answer is generated"),
        ({"method": "Reward", "evaluation": {"maxNewTokens": 256}}, "generates no answer"),
        ({"method": "CPT", "training": TRL}, "TRL trains SFT, Reward, DPO, KTO, GRPO only"),
        ({"training": {"engine": "TRL"}}, "write packing: false"),
        ({"training": {**TRL, "evalEverySteps": 5}}, "remove evalEverySteps"),
        ({"training": TRL, "checkpoints": {"everySteps": 5}}, "remove checkpoints"),
        ({"training": TRL, "checkpoints": {"everyMinutes": 5}}, "remove checkpoints"),
        ({"training": TRL, "checkpoints": {"keep": 5}}, "remove checkpoints"),
        (
            {"training": TRL, "output": {"uri": "s3://b/out", "retain": "Checkpoints"}},
            "write output.retain: Adapter",
        ),
        ({"training": TRL, "workers": {"nodes": 2}}, "write 1 for workers.nodes"),
        ({"training": TRL, "workers": {"processesPerNode": 2}}, "write 1 for workers.nodes"),
        ({"method": "DPO", "training": TRL, "dpo": {"loss": "IPO"}}, "write another dpo.loss"),
        (
            {"method": "DPO", "training": TRL, "dpo": {"labelSmoothing": "0.1"}},
            "passes label smoothing over",
        ),
        (
            {"method": "DPO", "training": TRL, "adapter": {"dropout": "0.1"}},
            "trains DPO and KTO without dropout",
        ),
        ({"rewardModel": {"uri": "s3://models/judge"}}, "rewardModel scores what the model writes"),
        ({"grpo": GRPO}, "the block grpo belongs to method GRPO"),
        ({"method": "PPO", "ppo": {"maxNewTokens": 8}}, "name a rewardModel"),
        ({"model": {}}, "name the model once"),
        ({"model": {"uri": "s3://models/a", "fromJob": {"name": "sft"}}}, "name the model once"),
        ({"model": {"fromJob": {"name": "Sft"}}}, "should match"),
        (
            {"model": {"fromJob": {"name": "support"}}},
            "spec.model.fromJob.name is this job's own name",
        ),
        ({"method": "GRPO"}, "method GRPO needs the block grpo"),
        ({"method": "GRPO", "grpo": {"maxNewTokens": 8}}, "nothing scores the answers"),
        (
            {
                "method": "GRPO",
                "grpo": {**GRPO, "maxNewTokens": 16},
                "training": {"sequenceLength": 16},
            },
            "it must be greater than grpo.maxNewTokens",
        ),
        (
            {"method": "GRPO", "grpo": {**GRPO, "rewardFunctions": [{"type": "Regex"}]}},
            "type Regex needs a pattern",
        ),
        (
            {"method": "GRPO", "grpo": GRPO, "data": {"train": [{**ROWS, "format": "Messages"}]}},
            "method GRPO trains on rows of the format Prompt",
        ),
    ],
)
def test_a_wrong_field_is_refused_with_a_sentence(
    server: ApiServer, namespace: str, fields: dict[str, Any], sentence: str
) -> None:
    assert sentence in refusal(server, job_document("support", namespace, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"train": [{**ROWS, "weight": "2"}, ROWS], "mixing": "Interleave"}},
        {"method": "CPT", "cpt": {"replay": [REPLAY, {**REPLAY, "share": "0.45"}]}},
        {"method": "DPO", "data": {"train": [{**ROWS, "format": "Preference"}]}},
        {"method": "GRPO", "grpo": GRPO, "data": {"train": [{**ROWS, "format": "Prompt"}]}},
        {
            "method": "GRPO",
            "grpo": {"maxNewTokens": 8},
            "rewardModel": {"uri": "s3://models/judge"},
        },
        {
            "method": "PPO",
            "ppo": {"maxNewTokens": 8},
            "rewardModel": {"uri": "s3://models/judge"},
        },
        {"training": {"lossOn": "LastTurn"}},
        {"model": {"fromJob": {"name": "sft"}}},
        {
            "method": "PPO",
            "ppo": {"maxNewTokens": 8},
            "model": {"fromJob": {"name": "sft"}, "id": "org/base"},
            "rewardModel": {"fromJob": {"name": "judge"}},
        },
        {"method": "CPT", "data": {"train": [ROWS], "checks": {"maxInvalidRows": 3}}},
        {"stopAfter": "Baseline"},
        {"stopAfter": "Baseline", "evaluation": {"enabled": True, "maxNewTokens": 8}},
        {"stopAfter": "Data", "evaluation": {"enabled": False}},
        {"stopAfter": "Data", "data": {"train": [ROWS], "groupBy": "customer"}},
        {"data": {"train": [ROWS], "checks": {"language": "DropRows", "languages": ["en", "yue"]}}},
        {"data": {"train": [ROWS], "domainText": [{"uri": "s3://data/manuals/**/*.pdf"}]}},
        {"method": "DPO", "data": {"train": [{**ROWS, "format": "Ranking"}]}},
        {"method": "CPT", "data": {"train": [{**ROWS, "format": "Document"}]}},
        {"method": "Reward", "evaluation": {"enabled": True}},
        {"evaluation": {"enabled": False}},
        {
            "workers": {"resources": {"limits": {"amd.com/gpu": 8, "rdma/hca": 1}}},
            "podTemplate": {
                "scratch": {"size": "200Gi", "storageClassName": "fast"},
                "topologySpread": [{"maxSkew": 1}],
            },
            "priorityClassName": "high",
        },
        {"training": TRL, "adapter": {"dropout": "0.1"}},
        {"method": "DPO", "training": TRL, "dpo": {"loss": "Hinge", "labelSmoothing": "0.0"}},
    ],
)
def test_methods_and_mixtures_are_accepted(
    server: ApiServer, namespace: str, fields: dict[str, Any]
) -> None:
    create(server, job_document("support", namespace, **fields))


@pytest.mark.parametrize("name", ["a" * 41, "9lives", "a.b"])
def test_a_name_that_no_pod_could_carry_is_refused(
    server: ApiServer, namespace: str, name: str
) -> None:
    assert "metadata.name must be at most 40" in refusal(server, job_document(name, namespace))


@pytest.mark.parametrize(
    ("patch", "field"),
    [
        ({"output": {"uri": "s3://other/place"}}, "output"),
        ({"training": {"seed": 1}}, "training"),
        ({"activeDeadlineSeconds": 60}, "activeDeadlineSeconds"),
    ],
)
def test_what_has_begun_cannot_change(
    server: ApiServer, namespace: str, patch: dict[str, Any], field: str
) -> None:
    create(server, job_document("support", namespace))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        change(server, namespace, patch)
    assert f"{field} cannot change after creation" in caught.value.stderr


def test_suspend_ttl_and_priority_may_change(server: ApiServer, namespace: str) -> None:
    create(server, job_document("support", namespace))
    fields = {"ttlSecondsAfterFinished": 60, "priorityClassName": "high"}
    change(server, namespace, {"suspend": True, **fields})
    change(server, namespace, {"suspend": False, **dict.fromkeys(fields)})


def change(server: ApiServer, namespace: str, spec: dict[str, Any]) -> None:
    patch = json.dumps({"spec": spec})
    kubectl(server, "-n", namespace, "patch", "ftj", "support", "--type=merge", "-p", patch)
