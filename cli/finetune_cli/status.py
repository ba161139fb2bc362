"""`finetune status`: a job on the cluster, once."""

import argparse
import sys

from finetune_cli.codes import Code
from finetune_cli.describe import job_lines
from finetune_cli.kubectl import Kubectl, KubectlError
from finetune_cli.text import print_lines


def main(options: argparse.Namespace) -> Code:
    """Print the job's status."""
    try:
        seen = Kubectl.of(options).job(options.name)
    except KubectlError as error:
        print(error, file=sys.stderr)
        return Code.FAILED
    print_lines(job_lines(seen))
    return Code.OK
