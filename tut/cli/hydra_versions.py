"""What Hydra 1.3 must be told and Hydra 1.4 must not: the one warns without a `version_base`, the other with one."""

from typing import Any

import hydra

_IS_1_3 = hydra.__version__.startswith("1.3.")

VERSION_BASE: dict[str, Any] = {"version_base": "1.3"} if _IS_1_3 else {}
"""Further arguments for `initialize_config_dir`."""

REPLACE: dict[str, Any] = {} if _IS_1_3 else {"replace": True}
"""Further arguments for `ConfigStore.store`, of what may be stored again, as in a process forked from another."""

MAIN: dict[str, Any] = VERSION_BASE if _IS_1_3 else {"execution_whitelist": ["tut.*", "hydra.experimental.*"]}
"""Further arguments for `hydra.main`: from 1.4 on a config may have only such things called as are listed there.

They are the callbacks of TUT and of Hydra.
"""
