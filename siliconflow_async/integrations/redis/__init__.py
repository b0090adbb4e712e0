"""Limits of one account that many processes and machines share, through Redis. Needs the extra `redis`.

from siliconflow_async.integrations.redis import RedisLimits

client = AsyncSiliconFlow(limits=RedisLimits("redis://…", {"org/model": Limit(rpm=1000)}, account="production"))
"""

from .holdings import Holding, ModelHoldings, holdings, holdings_at
from .limits import RedisLimits

__all__ = ["Holding", "ModelHoldings", "RedisLimits", "holdings", "holdings_at"]
