"""A file of requests, answered line by line into a file of results, that goes on where it was stopped.

Lines in and out have the form of OpenAI's batch files. `run_batch` is the whole of it.
"""

from .job import BatchReport, run_batch

__all__ = ["BatchReport", "run_batch"]
