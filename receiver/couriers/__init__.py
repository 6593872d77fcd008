"""The couriers we know: every module of this package that is not one of TOOLS is one of them, and
shows its `driver`.
"""

import importlib
import pkgutil

from receiver.couriers.contract import Driver

TOOLS = {"contract", "fast_load", "parsing", "schedule", "vocabulary"}

DRIVERS: dict[str, Driver] = {
    driver.name: driver
    for driver in (
        importlib.import_module(f"{__name__}.{module.name}").driver
        for module in pkgutil.iter_modules(__path__)
        if module.name not in TOOLS
    )
}
