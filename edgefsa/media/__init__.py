"""Pictures, videos and streams in and out: files, colours, orientation, resizing."""
