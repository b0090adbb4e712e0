"""A file of requests, answered line by line into a file of results, that goes on where it was stopped.

Lines in and out have the form of OpenAI's batch files. `run_batch` asks now, `run_remote_batch` has the service do it,
at half the price.
"""

from .job import run_batch
from .outcome import BatchReport, FailureKind
from .remote import run_remote_batch

__all__ = ["BatchReport", "FailureKind", "run_batch", "run_remote_batch"]
