"""What a node tells about itself: logs, metrics, events. Serves every room but the core, and knows none of them."""
