"""`OpenAIClient`: this library behind the openai package's client, for frameworks that ask for one. Extra `openai`.

from siliconflow_async.integrations.openai import OpenAIClient

client = OpenAIClient()  # an openai.AsyncOpenAI
"""

from .client import OpenAIClient
from .errors import siliconflow_error

__all__ = ["OpenAIClient", "siliconflow_error"]
