"""``musubi fsck``: is the log at rest whole, and what is not? See ``check``."""
