"""A file of requests, answered line by line into a file of results, that goes on where it was stopped.

Lines in and out have the form of OpenAI's batch files. `run_batch` is the whole of it.
"""

from .job import run_batch
from .outcome import BatchReport, FailureKind

__all__ = ["BatchReport", "FailureKind", "run_batch"]
