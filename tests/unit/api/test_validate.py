"""What a user is told about a job that cannot run."""

from typing import Any

import pytest
from finetune_api.errors import UserError
from finetune_api.reasons import Reason
from finetune_api.spec import FORMATS_OF, Method, RowFormat
from finetune_api.validate import Target, examine, unused_locally, validate
from finetune_api.yamlfile import load_documents

from tests.unit.api.jobs import Document, document, job
from tests.unit.api.spec_walk import JUDGED, ONLINE


def problems(made: object, target: Target = Target.CLUSTER) -> list[str]:
    found, listed = examine(made, target)
    assert (found is None) == bool(listed)
    return [str(problem) for problem in listed]


def of_method(method: Method, **spec: Any) -> Document:
    """The smallest job of a method, with these blocks of its spec replaced."""
    needed = {Method.GRPO: ONLINE, Method.PPO: JUDGED}.get(method, {})
    return document(**{**needed, "method": method.value, **spec})


def test_the_smallest_job_is_valid() -> None:
    assert problems(document()) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"bogus": 1}, "spec.bogus: unknown field; remove it or check its spelling"),
        (
            {"training": {"learning_rate": "1"}},
            "spec.training.learning_rate: unknown field; remove it or check its spelling",
        ),
        (
            {"model": {}},
            "spec.model: name the model once: by uri, or by fromJob.name as what another "
            "FineTuneJob publishes",
        ),
        (
            {"model": {"uri": "s3://models/a", "fromJob": {"name": "sft"}}},
            "spec.model: name the model once: by uri, or by fromJob.name as what another "
            "FineTuneJob publishes",
        ),
        (
            {"model": {"fromJob": {"name": "support-sft"}}},
            "spec.model.fromJob.name: is this job's own name: name the job whose result it starts "
            "from",
        ),
        (
            {"training": {"epochs": "1", "maxSteps": 5}},
            "spec.training: give epochs or maxSteps, not both",
        ),
        (
            {"training": {"scheduler": "Constant", "minLearningRateRatio": "0.1"}},
            "spec.training: with scheduler Constant the learning rate does not fall: remove "
            "minLearningRateRatio",
        ),
        (
            {"adapter": {"type": "None", "rank": 8}},
            "spec.adapter: type None trains all weights: "
            "remove rank, alpha, dropout, targetModules, rankPattern and alphaPattern",
        ),
        (
            {"adapter": {"type": "None", "from": "New"}},
            "spec.adapter: type None trains all weights: remove from, or write Merge to merge the "
            "start adapter",
        ),
        (
            {"stopAfter": "Baseline", "evaluation": {"enabled": False}},
            "spec: stopAfter Baseline measures the untouched model: remove evaluation.enabled: "
            "false",
        ),
        (
            {"adapter": {"type": "None"}, "output": {"uri": "s3://a/b", "merged": True}},
            "spec: with adapter.type None the result is a whole model already: remove "
            "output.merged",
        ),
        (
            {
                "data": {
                    "train": [{"uri": "s3://d/a"}],
                    "evaluation": [{"uri": "s3://d/b"}],
                    "evaluationFraction": "0.1",
                }
            },
            "spec.data: give evaluation rows or evaluationFraction, not both",
        ),
        (
            {"training": {"learningRate": "0"}},
            "spec.training.learningRate: "
            'must be a decimal string > 0 and <= 1e9, for example "0.1"',
        ),
        (
            {"method": "Magic"},
            "spec.method: Input should be 'CPT', 'SFT', 'Reward', 'DPO', 'KTO', 'ORPO', 'PPO' or "
            "'GRPO'",
        ),
        (
            {"podTemplate": {"scratch": {"storageClassName": "fast"}}},
            "spec.podTemplate.scratch.size: required field is missing",
        ),
        (
            {"podTemplate": {"topologySpread": ["zone"]}},
            "spec.podTemplate.topologySpread[0]: Input should be an object",
        ),
        (
            {"priorityClassName": "High"},
            "spec.priorityClassName: String should match pattern "
            "'^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'",
        ),
        (
            {"priorityClassName": "a..b"},
            "spec.priorityClassName: String should match pattern "
            "'^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$'",
        ),
        (
            {"podTemplate": {"env": [{"name": "FINETUNE_WORK_DIR", "value": "/x"}]}},
            "spec.podTemplate.env[0]: the operator sets this variable; keys and tokens belong in "
            "the Secret that storage.credentialsSecretName names",
        ),
    ],
)
def test_a_problem_names_its_field_and_what_to_write(spec: dict[str, Any], told: str) -> None:
    assert problems(document(**spec)) == [told]


ROWS = {"uri": "s3://d/a"}
REPLAY = {"uri": "s3://d/general", "share": "0.5"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"data": {"train": [{**ROWS, "weight": "2"}]}},
            "spec.data: mixing Concat reads every source once: remove weight, or set mixing to "
            "Interleave",
        ),
        (
            {
                "data": {
                    "train": [{**ROWS, "weight": "2"}],
                    "evaluation": [{**ROWS, "weight": "2"}],
                    "mixing": "Interleave",
                }
            },
            "spec.data: evaluation rows are all read: remove their weight",
        ),
        (
            {"data": {"train": [ROWS], "mixingStop": "AllExhausted"}},
            "spec.data: mixingStop says when an interleaved epoch ends: remove it, or set mixing "
            "to Interleave",
        ),
        (
            {"cpt": {"replay": [REPLAY]}},
            "spec: the block cpt belongs to method CPT: remove it, or change the method",
        ),
        (
            {"method": "CPT", "cpt": {"replay": [REPLAY, REPLAY]}},
            "spec.cpt: the shares of replay may be 0.95 together; the rest is data.train",
        ),
        (
            {"method": "CPT", "cpt": {"replay": [{**REPLAY, "format": "Messages"}]}},
            "spec.cpt.replay[0]: replay rows are documents: set format to Text or Document, or "
            "leave it out",
        ),
        (
            {"method": "DPO", "training": {"lossOn": "All"}},
            "spec: training.lossOn belongs to method SFT: remove it",
        ),
        (
            {"method": "CPT", "data": {"train": [ROWS], "checks": {"maxTooLongShare": "0.05"}}},
            "spec: method CPT cuts documents into blocks, so that none is too long: remove "
            "data.checks.maxTooLongShare",
        ),
        (
            {"method": "CPT", "data": {"train": [ROWS], "checks": {"tooLong": "Fail"}}},
            "spec: method CPT cuts documents into blocks, so that none is too long: remove "
            "data.checks.tooLong",
        ),
        (
            {"data": {"train": [ROWS], "checks": {"language": "DropRows"}}},
            "spec.data.checks: say which languages rows may have: set languages, for example [en]",
        ),
        (
            {"data": {"train": [ROWS], "checks": {"language": "Off", "languages": ["en"]}}},
            "spec.data.checks: with language Off no language is looked at: remove languages",
        ),
        (
            {"data": {"train": [ROWS], "checks": {"tooLong": "Fail", "maxTooLongShare": "0"}}},
            "spec.data.checks: with tooLong Fail no row may be too long: remove maxTooLongShare",
        ),
        (
            {"data": {"train": [ROWS], "evaluation": [ROWS], "groupBy": "customer"}},
            "spec.data: groupBy decides which rows are held out, and evaluation names them: "
            "remove one",
        ),
        (
            {"evaluation": {"enabled": False, "maxNewTokens": 256}},
            "spec.evaluation: with enabled false no answer is generated: remove maxNewTokens",
        ),
        (
            {"method": "Reward", "evaluation": {"maxNewTokens": 256}},
            "spec: a reward model generates no answer: remove evaluation.maxNewTokens",
        ),
        (
            {"method": "CPT", "data": {"train": [{**ROWS, "format": "Messages"}]}},
            "spec: method CPT trains on rows of the format Text or Document; set format to one of "
            "these or leave it out",
        ),
        (
            {"data": {"train": [ROWS], "evaluation": [{**ROWS, "format": "Preference"}]}},
            "spec: method SFT trains on rows of the format Messages or Instruction or "
            "PromptCompletion; set format to one of these or leave it out",
        ),
    ],
)
def test_what_the_method_would_not_use_is_refused(spec: dict[str, Any], told: str) -> None:
    assert problems(document(**spec)) == [told]


LENGTH = {"type": "Length", "maxTokens": 8}


def scored_by(*functions: dict[str, Any]) -> dict[str, Any]:
    """A job of method GRPO with reward functions."""
    return {"method": "GRPO", "grpo": {"maxNewTokens": 8, "rewardFunctions": list(functions)}}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"rewardModel": {"uri": "s3://models/judge"}},
            "spec: rewardModel scores what the model writes in method PPO or GRPO: remove it",
        ),
        (
            {"method": "GRPO", "rewardModel": {"uri": "s3://models/judge"}},
            "spec: method GRPO needs the block grpo: write grpo.maxNewTokens, the longest answer",
        ),
        (
            {"method": "PPO", "rewardModel": {"uri": "s3://models/judge"}},
            "spec: method PPO needs the block ppo: write ppo.maxNewTokens, the longest answer",
        ),
        (
            {"method": "GRPO", "grpo": {"maxNewTokens": 8}},
            "spec: nothing scores the answers: name a rewardModel, or grpo.rewardFunctions",
        ),
        (
            {
                **ONLINE,
                "training": {"sequenceLength": 16},
                "grpo": {**ONLINE["grpo"], "maxNewTokens": 16},
            },
            "spec: training.sequenceLength holds a prompt and its answer: it must be greater than "
            "grpo.maxNewTokens",
        ),
        (
            {**ONLINE, "rewardModel": {"uri": "file:///models/judge"}},
            "spec.rewardModel: file:// works only in local runs (`finetune run`); on a cluster "
            "write s3://BUCKET/KEY or hf://ORG/NAME@REVISION",
        ),
        (
            {**JUDGED, "rewardModel": None},
            "spec: nothing scores the answers: name a rewardModel",
        ),
        (
            {**JUDGED, "ppo": {"maxNewTokens": 8, "klTarget": "6"}},
            "spec.ppo: klTarget steers the Adaptive controller: set klController to Adaptive, or "
            "remove it",
        ),
        (
            {**JUDGED, "ppo": {"maxNewTokens": 8, "temperature": "0"}},
            'spec.ppo.temperature: must be a decimal string > 0 and <= 1e9, for example "0.1"',
        ),
        (
            scored_by({"type": "Regex"}),
            "spec.grpo.rewardFunctions[0]: type Regex needs a pattern",
        ),
        (
            scored_by({**LENGTH, "pattern": "a"}),
            "spec.grpo.rewardFunctions[0]: pattern belongs to the types Regex and ExactAnswer: "
            "remove it",
        ),
        *(
            (
                scored_by({"type": "JsonValid"}, function),
                "spec.grpo.rewardFunctions[1]: type Length needs maxTokens, and no other type has "
                "it",
            )
            for function in ({"type": "Length"}, {"type": "ExactAnswer", "maxTokens": 8})
        ),
        (
            scored_by(LENGTH, {"type": "Regex", "pattern": "a("}),
            "spec.grpo.rewardFunctions[1].pattern: is no regular expression of Python's: missing "
            "), unterminated subpattern at position 1",
        ),
        (
            scored_by({"type": "Regex", "pattern": r"frac{i}"}),
            "spec.grpo.rewardFunctions[0].pattern: has a brace that counts nothing: write \\{ for "
            "the character",
        ),
        (
            scored_by({"type": "ExactAnswer", "pattern": "answer: .*"}),
            "spec.grpo.rewardFunctions[0].pattern: has no group: put brackets around the part "
            "that is the answer",
        ),
    ],
)
def test_answers_that_nothing_could_score_are_refused(spec: dict[str, Any], told: str) -> None:
    assert problems(document(**spec)) == [told]


def test_answers_are_scored_by_rules_by_a_model_or_by_both() -> None:
    judge = {"rewardModel": {"uri": "s3://models/judge"}}
    rules = scored_by(
        LENGTH,
        {"type": "Regex", "pattern": "^yes"},
        {"type": "ExactAnswer", "weight": "2"},
        {"type": "ExactAnswer", "pattern": "answer: (.*)"},
    )

    assert problems(document(**rules)) == []
    assert problems(document(**rules, **judge)) == []
    assert problems(document(method="GRPO", grpo={"maxNewTokens": 8}, **judge)) == []


TRL: dict[str, Any] = {"engine": "TRL", "packing": False}
TO: dict[str, Any] = {"uri": "s3://artifacts/team-a"}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        *(
            (spec, "trains SFT, Reward, DPO, KTO, GRPO only: write Native")
            for spec in ({"method": "CPT"}, {"method": "ORPO"}, JUDGED)
        ),
        (
            {**ONLINE, "grpo": {**ONLINE["grpo"], "iterations": 2}},
            "counts each of grpo.iterations as a step of its own: write 1, or Native",
        ),
        (
            {**ONLINE, "training": {**TRL, "microBatchTokens": 64}},
            "reads all answers of a step in one forward pass: remove microBatchTokens, or write "
            "Native",
        ),
        (
            {"training": {"engine": "TRL"}},
            "pads rows and does not pack them: write packing: false",
        ),
        (
            {"training": {**TRL, "evalEverySteps": 5}},
            "measures held-out rows before and after training only: remove evalEverySteps and "
            "earlyStopping",
        ),
        *(
            (
                {"checkpoints": wish},
                "saves no checkpoints, so that an interrupted run starts again: remove checkpoints",
            )
            for wish in ({"everySteps": 5}, {"everyMinutes": 5}, {"keep": 5})
        ),
        (
            {"output": {**TO, "retain": "Checkpoints"}},
            "has no checkpoints to keep: write output.retain: Adapter",
        ),
        *(
            (
                {"workers": workers},
                "runs in one process: write 1 for workers.nodes and workers.processesPerNode",
            )
            for workers in ({"nodes": 2}, {"processesPerNode": 2})
        ),
        (
            {"method": "DPO", "dpo": {"loss": "IPO"}},
            "divides IPO by the completions' lengths, which its paper does not: write another "
            "dpo.loss, or Native",
        ),
        (
            {"method": "DPO", "dpo": {"labelSmoothing": "0.1"}},
            'passes label smoothing over: write dpo.labelSmoothing: "0", or Native',
        ),
        *(
            (
                {"method": method, "adapter": {"dropout": "0.1"}},
                'trains DPO and KTO without dropout: write adapter.dropout: "0"',
            )
            for method in ("DPO", "KTO")
        ),
    ],
)
def test_what_trl_would_not_honour_is_refused_and_our_engine_takes_it(
    spec: dict[str, Any], told: str
) -> None:
    spec = {"training": TRL, **spec}
    assert problems(document(**spec)) == [f"spec: training.engine TRL {told}"]
    assert problems(document(**spec | {"training": spec["training"] | {"engine": "Native"}})) == []


def test_a_best_step_and_an_early_end_are_refused_with_trl() -> None:
    training = {**TRL, "evalEverySteps": 5, "earlyStopping": {"patience": 2}}
    (told,) = problems(document(training=training, checkpoints={"best": {}}))
    assert "remove evalEverySteps and earlyStopping" in told
    assert "remove checkpoints" in told


@pytest.mark.parametrize(
    "spec",
    [
        {"adapter": {"dropout": "0.1"}},
        {"data": {"train": [{**ROWS, "weight": "2"}, ROWS], "mixing": "Interleave"}},
        {"training": {**TRL, "minLearningRateRatio": "0.1", "microBatchTokens": 512}},
        {"method": "DPO", "dpo": {"loss": "Hinge", "sftWeight": "0.5", "labelSmoothing": "0.0"}},
        {"adapter": {"type": "None"}, "checkpoints": {"everyMinutes": 10}},
    ],
)
def test_trl_takes_what_it_can_honour(spec: dict[str, Any]) -> None:
    assert problems(document(**{"training": TRL, **spec})) == []


def test_sources_are_mixed_by_weights_and_replayed_by_shares() -> None:
    mixed = {"train": [{**ROWS, "weight": "2"}, ROWS], "mixing": "Interleave"}
    stop = {"mixingStop": "AllExhausted"}
    assert problems(document(data={**mixed, **stop})) == []
    replay = [{**REPLAY, "share": "0.45"}, REPLAY]
    assert problems(document(method="CPT", data=mixed, cpt={"replay": replay})) == []


@pytest.mark.parametrize("form", [form for form in RowFormat if form is not RowFormat.AUTO])
def test_every_format_is_taken_by_its_methods_and_no_others(form: RowFormat) -> None:
    data = {"train": [{**ROWS, "format": form.value}]}
    taken = [m for m in Method if problems(of_method(m, data=data)) == []]
    assert taken == [m for m, formats in FORMATS_OF.items() if form in formats]
    assert taken


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize(
    "name", ["Upper", "1st", "with.dot", "end-", "a" * 41, "under_score", "ünïcode", "line\n"]
)
def test_a_name_that_pods_cannot_carry_is_refused(name: str, target: Target) -> None:
    made = document()
    made["metadata"]["name"] = name
    (told,) = problems(made, target)
    assert told.startswith("metadata.name: must be at most 40 characters: a lower-case letter")


def test_all_problems_are_told_at_once() -> None:
    made = document(bogus=1, adapter={"rank": 0})
    del made["spec"]["output"]
    assert [p.partition(":")[0] for p in problems(made)] == [
        "spec.adapter.rank",
        "spec.output",
        "spec.bogus",
    ]


def test_a_bare_number_is_refused_where_a_decimal_string_is_meant() -> None:
    text = """
apiVersion: finetune.dev/v1alpha1
kind: FineTuneJob
metadata: {name: support-sft}
spec:
  method: SFT
  model: {uri: s3://models/llama}
  data: {train: [{uri: s3://data/support.jsonl}]}
  training: {learningRate: %s}
  output: {uri: s3://artifacts/team-a}
"""
    (bare,) = load_documents(text % "2e-4")
    assert problems(bare) == [
        'spec.training.learningRate: must be a string; put the value in quotes, for example "2e-4"'
    ]
    (quoted,) = load_documents(text % '"2e-4"')
    assert problems(quoted) == []


@pytest.mark.parametrize(
    ("value", "good"),
    [("1e9", True), ("1.1e9", False), ("1e400", False), ("1e-300", True), ("1e-400", False)],
)
def test_bounds_are_compared_as_doubles_as_cel_does(value: str, good: bool) -> None:
    assert (problems(document(training={"learningRate": value})) == []) is good


@pytest.mark.parametrize(
    ("spec", "field", "instead"),
    [
        (
            {"model": {"uri": "file:///models/llama"}},
            "spec.model",
            "s3://BUCKET/KEY or hf://ORG/NAME@REVISION",
        ),
        (
            {"data": {"train": [{"uri": "s3://d/a"}, {"uri": "file:///d/b"}]}},
            "spec.data.train[1]",
            "s3://BUCKET/KEY",
        ),
        (
            {"data": {"train": [{"uri": "s3://d/a"}], "evaluation": [{"uri": "file:///d/b"}]}},
            "spec.data.evaluation[0]",
            "s3://BUCKET/KEY",
        ),
        (
            {"method": "CPT", "cpt": {"replay": [{"uri": "file:///general", "share": "0.1"}]}},
            "spec.cpt.replay[0]",
            "s3://BUCKET/KEY",
        ),
        ({"output": {"uri": "file:///results"}}, "spec.output", "s3://BUCKET/KEY"),
    ],
)
def test_file_addresses_work_only_in_local_runs(
    spec: dict[str, Any], field: str, instead: str
) -> None:
    assert problems(document(**spec), Target.LOCAL) == []
    assert problems(document(**spec)) == [
        f"{field}: file:// works only in local runs (`finetune run`); on a cluster write {instead}"
    ]


HUB = ["hf://org/name", "hf://Org-1/na.me_2@main", "hf://org/name@0123abc"]


@pytest.mark.parametrize("uri", HUB)
@pytest.mark.parametrize("target", Target)
def test_a_model_may_lie_on_the_hub(uri: str, target: Target) -> None:
    assert problems(document(model={"uri": uri}), target) == []


@pytest.mark.parametrize("uri", HUB)
@pytest.mark.parametrize("target", Target)
def test_rows_and_results_may_not(uri: str, target: Target) -> None:
    (told,) = problems(document(output={"uri": uri}), target)
    assert told.startswith("spec.output.uri: String should match pattern '^(s3://")
    (told,) = problems(document(data={"train": [{"uri": uri}]}), target)
    assert told.startswith("spec.data.train[0].uri: String should match pattern '^(s3://")


@pytest.mark.parametrize(
    "uri",
    [
        *("file://relative/path", "file:///", "s3://", "s3:///key", "http://host/x", "s3://b/k?x"),
        *("/p", "hf://", "hf://name", "hf://org/name@", "hf://org/name/file", "hf://org/../name"),
        *("hf://org/name@a/b", "hf://org/name@..", "hf:///org/name"),
    ],
)
@pytest.mark.parametrize("target", Target)
def test_an_address_that_leads_nowhere_is_refused(uri: str, target: Target) -> None:
    (told,) = problems(document(model={"uri": uri}), target)
    assert told.startswith("spec.model.uri: String should")


@pytest.mark.parametrize(
    "made",
    [None, [], "text", {}, {"apiVersion": "v1", "kind": "Pod"}, {**document(), "kind": "Other"}],
)
def test_another_document_is_refused_in_one_sentence(made: object) -> None:
    assert len(problems(made)) == 1


def test_validate_raises_with_all_problems() -> None:
    with pytest.raises(UserError, match=r"spec\.bogus.*spec\.bogus2") as caught:
        validate(document(bogus=1, bogus2=1), Target.CLUSTER)
    assert caught.value.reason is Reason.INVALID_SPEC


def test_fields_that_a_local_run_leaves_out_are_named_when_set() -> None:
    assert unused_locally(job()) == []
    made = job(
        podTemplate={"labels": {"a": "b"}},
        restarts={"max": 1, "stepDeadlineSeconds": 60},
        suspend=True,
        ttlSecondsAfterFinished=5,
        training={"seed": 1},
    )
    assert unused_locally(made) == [
        "podTemplate",
        "restarts.max",
        "suspend",
        "ttlSecondsAfterFinished",
    ]


@pytest.mark.parametrize(
    ("amount", "good"),
    [
        (8, True),
        ("8", True),
        ("500m", True),
        (-1, False),
        (True, False),
        (0.5, False),
        ("8 GB", False),
    ],
)
def test_a_quantity_may_be_a_bare_whole_number_as_in_a_pod(amount: object, good: bool) -> None:
    spec = {"resources": {"limits": {"nvidia.com/gpu": amount}}}
    assert (problems(document(workers=spec)) == []) is good
