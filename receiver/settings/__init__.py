"""Read and check the environment: one frozen `Settings` object, built once and handed down.

All faults are reported together, so that they can be corrected in one go.
"""

from receiver.settings.account import ACCOUNT, ACCOUNT_NAME, Account
from receiver.settings.general import GENERAL
from receiver.settings.settings import BadSettings, Settings

__all__ = ["ACCOUNT", "ACCOUNT_NAME", "GENERAL", "Account", "BadSettings", "Settings"]
