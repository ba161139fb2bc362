"""The licences of a job's sources, beside the model's."""

from finetune_api.spec import FineTuneJobSpec, LicenseMode, RowSource

from finetune_trainer.checks.licences import concerns, read_licence
from finetune_trainer.preparation.findings import Check, Findings


def look_at_licenses(spec: FineTuneJobSpec, findings: Findings) -> None:
    """Note each source whose licence asks for a decision; see `checks.licences.concerns`."""
    if spec.data.checks.license is LicenseMode.OFF:
        return
    model = read_licence(spec.model.license) if spec.model.license else None
    replay = spec.cpt.replay if spec.cpt else []
    sources: list[RowSource] = [*spec.data.train, *replay]
    for source in sources:
        licence = read_licence(source.license)
        told = concerns(licence, model, "the source")
        if told:
            kinds = [licence.spdx or "NoLicense"]
            findings.found(Check.LICENSE).add(source.uri, 0, kinds, " ".join(told))
