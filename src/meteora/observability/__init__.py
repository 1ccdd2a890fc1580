"""What a node tells about itself: logs, metrics, last events. Serves every room but the core, and knows none of them."""
