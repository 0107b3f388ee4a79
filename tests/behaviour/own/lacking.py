import not_installed  # noqa: F401
