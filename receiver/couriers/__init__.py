"""The couriers: each module here is a driver, except those that all drivers share."""

import importlib
import pkgutil

from receiver.couriers.contract import Driver

SHARED_MODULES = {
    "body_reader",
    "contract",
    "field_map",
    "inline_label",
    "parsing",
    "polling",
    "schedule",
    "signatures",
    "snapshot",
    "vocabulary",
}

DRIVERS: dict[str, Driver] = {
    driver.name: driver
    for driver in (
        importlib.import_module(f"{__name__}.{module.name}").driver
        for module in pkgutil.iter_modules(__path__)
        if module.name not in SHARED_MODULES
    )
}
