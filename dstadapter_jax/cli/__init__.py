"""What all commands share: entry point, paths, config flags."""
