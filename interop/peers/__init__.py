"""The peers: how each real system is installed (pinned), started and stopped."""
