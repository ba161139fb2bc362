"""A real Kubernetes on one bare Linux machine, for development and tests.

Standard library only: it runs with the system's python3 before anything is installed.
"""

from devcluster.variables import environment

__all__ = ["environment"]
