"""Units that say opposite things of the same subject."""

import numpy as np
import numpy.typing as npt

from finetune_trainer.checks.spool import Int64


def find_contradictions(subject: Int64, verdict: Int64) -> npt.NDArray[np.bool_]:
    """[U] True for units whose subject has more than one verdict.

    subject: [U] hash of what is judged (prompt and answer; prompt and both answers).
    verdict: [U] what is said of it: a label, or which of two answers is the better.
    """
    order = np.argsort(subject, kind="stable")
    ordered, said = subject[order], verdict[order]
    starts = np.ones(len(order), np.bool_)
    starts[1:] = ordered[1:] != ordered[:-1]
    group = np.cumsum(starts) - 1
    first = said[starts][group]
    mixed = np.zeros(int(group[-1]) + 1 if len(group) else 0, np.bool_)
    mixed[group[said != first]] = True
    found = np.zeros(len(order), np.bool_)
    found[order] = mixed[group]
    return found
