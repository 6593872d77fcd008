"""The commands that need the workers' code, which the entry point in pyproject.toml announces."""

COMMANDS = {
    "Couriers": {"poll": ("workers.cli.poll", "Poll the couriers for all open orders now.")},
    "The service": {
        "alive": ("workers.cli.alive", "Say whether a worker or clock makes progress."),
        "alerts": ("workers.cli.alerts", "List open alerts; acknowledge or snooze one."),
        "push": ("workers.cli.push", "Show how far the change feed was pushed to the shop."),
        "doctor": ("workers.cli.doctor.command", "Examine an installation; say what to correct."),
        "rebuild": ("workers.cli.rebuild", "Recompute orders from the stored messages."),
    },
}
