"""What a node tells about itself: logs, and later metrics. Serves every room but the core, and knows none of them."""
