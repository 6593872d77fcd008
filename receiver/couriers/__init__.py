"""The couriers we know: every module of this package but the contract (base.py) and its tools
(reading.py) is one, and shows its `driver`.
"""

import importlib
import pkgutil

from receiver.couriers.base import Driver

DRIVERS: dict[str, Driver] = {
    driver.name: driver
    for driver in (
        importlib.import_module(f"{__name__}.{module.name}").driver
        for module in pkgutil.iter_modules(__path__)
        if module.name not in {"base", "reading"}
    )
}
