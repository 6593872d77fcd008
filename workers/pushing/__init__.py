"""Push the change feed to the shop: post it to PUSH_URL, signed, in the feed's order."""

from workers.pushing.sender import FeedSender

__all__ = ["FeedSender"]
