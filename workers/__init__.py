"""What happens in the background: drain the inbox, sweep up what was forgotten."""
