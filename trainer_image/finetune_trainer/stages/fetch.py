"""Fetching: the start model and the prepared data come to each pod's disk once."""

import logging
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from finetune_trainer.handover import hand_over
from finetune_trainer.prepared import Prepared
from finetune_trainer.prepared_files import read_prepared
from finetune_trainer.stages.context import Run
from finetune_trainer.start_files import StartRecord, checked_files, find_record
from finetune_trainer.storage import Download, ObjectInfo, PreconditionFailed
from finetune_trainer.storage.addresses import checked_target, file_path, relative_to, scheme_of
from finetune_trainer.storage.pool import work_off
from finetune_trainer.storage.store import Watch, changed_meanwhile
from finetune_trainer.transfer_log import TransferLog

log = logging.getLogger("finetune")

_OTHER_WEIGHTS = (".bin", ".pt", ".pth", ".h5", ".msgpack", ".gguf", ".onnx", ".ckpt", ".pkl")
"""Weights in formats that are never loaded."""
_COPY_OF_WEIGHTS = "consolidated"
"""Some repositories hold the weights a second time, for another library, under such names."""

_TEMPLATES = "additional_chat_templates/"
"""The only subfolder of a model that is loaded from."""
T = TypeVar("T")


@dataclass(frozen=True)
class Fetched:
    """What lies on this pod's disk."""

    start: StartRecord
    model: Path
    """The base: what the job starts from, or the start adapter merged into that."""
    adapter: Path | None
    """The start adapter, while it is not merged."""
    handed_over: Path
    """Tokenizer, chat template and generation settings; see `handover`."""
    prepared: Prepared
    reward: Path | None = None
    """The reward model, or the base of its adapter."""
    reward_adapter: Path | None = None

    def merged(self, base: Path) -> "Fetched":
        """The same once the adapter is merged into `base`."""
        return replace(self, model=base, adapter=None)


@dataclass(frozen=True)
class _Part:
    """A folder that is needed here."""

    uri: str
    folder: Path
    recorded: Mapping[str, str] | None = None
    """Names and etags that it must have; None where it belongs to this job."""

    @property
    def is_here(self) -> bool:
        """Whether it is used where it lies."""
        return self.folder == _in_place(self.uri)


def fetch(run: Run, merged_uri: str | None = None) -> Fetched:
    """Download model and data; local rank 0 of each pod does it, and all wait for all pods.

    Args:
        merged_uri: base with the start adapter merged, where an earlier incarnation made it; it
            takes the place of the start model.

    Raises UserError ModelInvalid when the start model is not what was prepared,
    InterruptedRunError, and the store's errors.
    """
    start = _find_start(run)
    parts = _parts(run, start, merged_uri)
    handed_over = run.work / "handed-over"
    model, adapter = parts["model"].folder, parts["adapter"].folder if "adapter" in parts else None
    if run.comm.local_rank == 0:
        needed = {part.folder: part for part in parts.values()}.values()
        download(run, [each for part in needed for each in _downloads(run, part)])
        shutil.rmtree(handed_over, ignore_errors=True)
        hand_over(model, adapter, handed_over)
    run.comm.await_all("fetched")
    prepared = read_prepared(parts["prepared"].folder)
    rewards = (parts[n].folder if n in parts else None for n in ("reward", "reward-adapter"))
    return Fetched(start, model, adapter, handed_over, prepared, *rewards)


def merged_folder(run: Run) -> Path:
    """Where the base with the start adapter merged into it lies on this pod's disk."""
    return run.work / "publish" / "base"


def download_folder(run: Run, uri: str, folder: Path) -> None:
    """Download all that is loaded from the folder `uri`. Raises InterruptedRunError."""
    download(run, _wanted(_listed(run, uri), uri, folder))


def download(run: Run, downloads: Sequence[Download]) -> None:
    """Download files, telling how far it is, and stop when any rank was asked to.

    Raises InterruptedRunError; InfrastructureError where an object changes meanwhile.
    """
    tell = TransferLog(log.info)
    arrive = arrival(run)

    def watch(done: int, total: int) -> None:
        arrive(done, total)
        if run.progress is not None:
            run.progress.after_bytes(done, total)
            tell(done, total)

    try:
        run.store.download_files(downloads, watch)
    except PreconditionFailed as error:
        raise changed_meanwhile(error) from error


def arrival(run: Run) -> Watch:
    """What every download is watched by: it gets on while bytes arrive, and ends, raising
    InterruptedRunError, when any rank was asked to stop."""
    arrived = 0

    def watch(done: int, _total: int) -> None:
        nonlocal arrived
        if done != arrived:
            arrived = done
            run.comm.pulse.beat()
        run.comm.look_for_stop()

    return watch


def is_loaded(name: str) -> bool:
    """Whether anything is loaded from a model's file `name`, a path in the model's folder."""
    if "/" in name and not name.startswith(_TEMPLATES):
        return False
    return not name.endswith(_OTHER_WEIGHTS) and not name.startswith(_COPY_OF_WEIGHTS)


def _find_start(run: Run) -> StartRecord:
    """What to start from, as rank 0 finds it."""
    found = None
    if run.comm.is_first:
        file = run.file
        digest = file.prepared.model_digest if file.prepared else None
        reward = file.spec.reward_model.address() if file.spec.reward_model else None
        wanted = (run.layout.start, run.recipe_hash, file.spec.model.address(), digest, reward)
        found = _ask(run, lambda: find_record(run.store, *wanted)).to_wire()
    return StartRecord.parse_wire(run.comm.share("start", found))


def _parts(run: Run, start: StartRecord, merged_uri: str | None) -> dict[str, _Part]:
    """What is needed here, by name; what two names share comes once."""
    parts = {"prepared": _Part(run.prepared_uri, _folder(run, "prepared", run.prepared_uri))}
    if merged_uri is not None:
        parts["model"] = _Part(merged_uri, merged_folder(run))
    else:
        parts |= _model_parts(run, start, "model", "adapter")
    reward = start.reward_model
    if reward is not None:
        parts |= _model_parts(run, reward, "reward", "reward-adapter")
        if parts["model"].uri == reward.model_uri:
            parts["reward"] = parts["model"]
    return parts


def _model_parts(run: Run, record: StartRecord, model: str, adapter: str) -> dict[str, _Part]:
    """A model and its adapter, if it has one, under the names given."""
    folder = _folder(run, model, record.model_uri)
    parts = {model: _Part(record.model_uri, folder, record.model_files)}
    if record.adapter_uri is not None:
        folder = _folder(run, adapter, record.adapter_uri)
        parts[adapter] = _Part(record.adapter_uri, folder, record.adapter_files)
    return parts


def _downloads(run: Run, part: _Part) -> list[Download]:
    """What must come to this disk of `part`, which is surely what was recorded."""
    recorded = part.recorded
    if recorded is None:
        objects = [] if part.is_here else _listed(run, part.uri)
    else:
        objects = _ask(run, lambda: checked_files(run.store, part.uri, recorded))
    return [] if part.is_here else _wanted(objects, part.uri, part.folder)


def _wanted(objects: Iterable[ObjectInfo], uri: str, folder: Path) -> list[Download]:
    folder.mkdir(parents=True, exist_ok=True)
    names = ((info, relative_to(info.uri, uri)) for info in objects)
    return [Download(info, checked_target(folder, n)) for info, n in names if is_loaded(n)]


def _listed(run: Run, uri: str) -> list[ObjectInfo]:
    """What lies in a folder."""
    return _ask(run, lambda: list(run.store.list(uri)))


def _ask(run: Run, question: Callable[[], T]) -> T:
    """The store's answer. Asked in another thread, since a store that is away may keep it waiting
    for minutes; this one looks for a request to stop. Raises InterruptedRunError."""
    answers: list[T] = []
    work_off([lambda _: answers.append(question())], 1, run.comm.look_for_stop)
    run.comm.pulse.beat()
    return answers[0]


def _folder(run: Run, name: str, uri: str) -> Path:
    """Files that are on this machine already are used where they lie."""
    return _in_place(uri) or run.work / name


def _in_place(uri: str) -> Path | None:
    return file_path(uri) if scheme_of(uri) == "file" else None
